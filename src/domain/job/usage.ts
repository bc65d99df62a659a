import { isTerminal } from '../../contract/job.ts';
import type { Used } from '../../contract/admission.ts';
import type { Attempt, JobState } from './state.ts';

/**
 * Computes the charge of a finished job, with the price of each attempt's endpoint at the time of the submit; null
 * until the job has finished. An attempt that ended by the client's graph, cancel or deadline is charged from claim to
 * end, or by RunPod's own measurement when no worker claims. Other failed attempts are charged for the time in which
 * their graph executed. The charge never exceeds the reservation, which is the whole time to the deadline.
 */
export function chargeOf(state: JobState): Used | null {
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

/** The worker's own measurement, limited to the time since its claim. */
const executedMs = (attempt: Attempt): number => Math.min(attempt.executed_ms, claimedMs(attempt));

/** Whether the client's graph, cancel or deadline ended the attempt, rather than the worker, RunPod or the gateway. */
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
