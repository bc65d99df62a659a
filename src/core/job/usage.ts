import { isTerminal } from '../../contract/job.ts';
import type { Used } from '../../contract/admission.ts';
import type { Attempt, JobState } from './state.ts';

/**
 * What a job is charged: the time its attempts held a GPU, from claim to end, at the endpoint's price when it was submitted.
 * Never more than was reserved, which is its whole time to the deadline. Null until the job is over.
 */
export function usedBy(state: JobState): Used | null {
  if (!isTerminal(state.status)) {
    return null;
  }
  const held = state.attempts.reduce((sum, attempt) => sum + (isCharged(attempt) ? heldMs(attempt) : 0), 0);
  const gpu_ms = Math.min(held, state.deadline - state.created_at);
  return { gpu_ms, micro_usd: Math.round((gpu_ms / 1000) * (state.price_per_second ?? 0) * 1e6) };
}

const heldMs = ({ claimed_at, ended_at }: Attempt): number =>
  claimed_at === null || ended_at === null ? 0 : Math.max(0, ended_at - claimed_at);

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
