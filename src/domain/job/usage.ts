import { isTerminal } from '../../contract/job.ts';
import type { Used } from '../../contract/admission.ts';
import type { Attempt, JobState } from './state.ts';

/**
 * What a job is charged, at the price that each attempt's endpoint had when the job was submitted; null until the job is over. An attempt
 * that the client's graph, cancel or deadline ended counts from claim to end, or as RunPod counts it where no worker claims. Of one that
 * failed otherwise counts the time in which its graph executed. Never more than was reserved, the whole time to the deadline.
 */
export function usedBy(state: JobState): Used | null {
  if (!isTerminal(state.status)) {
    return null;
  }
  let left_ms = state.deadline - state.created_at;
  let gpu_ms = 0;
  let usd = 0;
  for (const attempt of state.attempts) {
    const counted = Math.min(isChargedWhole(attempt) ? heldMs(attempt) : executedMs(attempt), left_ms);
    left_ms -= counted;
    gpu_ms += counted;
    usd += (counted / 1000) * (priceAt(state, attempt.endpoint) ?? 0);
  }
  return { gpu_ms, micro_usd: Math.round(usd * 1e6) };
}

const priceAt = (state: JobState, endpoint: string): number | null =>
  endpoint === state.endpoint
    ? state.price_per_second
    : (state.fallbacks.find((fallback) => fallback.endpoint === endpoint)?.price_per_second ?? null);

const heldMs = (attempt: Attempt): number => attempt.execution_ms ?? claimedMs(attempt);

const claimedMs = ({ claimed_at, ended_at }: Attempt): number =>
  claimed_at === null || ended_at === null ? 0 : Math.max(0, ended_at - claimed_at);

/** A worker's own count is believed as far as it fits into its claim. */
const executedMs = (attempt: Attempt): number => Math.min(attempt.executed_ms, claimedMs(attempt));

/** Whether the client ended the attempt, by its graph, a cancel or its deadline, rather than the worker, RunPod or the gateway. */
function isChargedWhole({ outcome, error }: Attempt): boolean {
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
