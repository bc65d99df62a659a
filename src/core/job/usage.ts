import { isTerminal } from '../../contract/job.ts';
import type { Used } from '../../contract/admission.ts';
import type { Attempt, JobState } from './state.ts';

/**
 * What a job is charged: the time its attempts held a GPU, from claim to end or as RunPod counts it where no worker claims, at the price that each one's endpoint had when it was submitted.
 * Never more than was reserved, which is its whole time to the deadline. Null until the job is over.
 */
export function usedBy(state: JobState): Used | null {
  if (!isTerminal(state.status)) {
    return null;
  }
  let left_ms = state.deadline - state.created_at;
  let gpu_ms = 0;
  let usd = 0;
  for (const attempt of state.attempts.filter(isCharged)) {
    const held = Math.min(heldMs(attempt), left_ms);
    left_ms -= held;
    gpu_ms += held;
    usd += (held / 1000) * (priceAt(state, attempt.endpoint) ?? 0);
  }
  return { gpu_ms, micro_usd: Math.round(usd * 1e6) };
}

const priceAt = (state: JobState, endpoint: string): number | null =>
  endpoint === state.endpoint
    ? state.price_per_second
    : (state.fallbacks.find((fallback) => fallback.endpoint === endpoint)?.price_per_second ?? null);

const heldMs = ({ claimed_at, ended_at, execution_ms }: Attempt): number =>
  execution_ms ?? (claimed_at === null || ended_at === null ? 0 : Math.max(0, ended_at - claimed_at));

/** A failure of ours or of the provider costs nothing; what the client's graph, cancel or deadline ended does. */
function isCharged({ outcome, error }: Attempt): boolean {
  switch (outcome) {
    case 'succeeded':
    case 'canceled':
      return true;
    case 'failed':
      return error !== null && (error.at === 'workflow' || error.at === 'request' || error.code === 'timeout');
    case 'lost':
    case 'superseded':
    case null:
      return false;
  }
}
