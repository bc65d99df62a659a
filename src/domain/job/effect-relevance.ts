import { isTerminal } from '../../contract/job.ts';
import type { Effect } from './signals.ts';
import { currentAttempt, type JobState } from './state.ts';

/** RunPod ends a run by itself this long after the job's deadline. The worker ends it earlier if it can. */
export const RUN_GRACE_MS = 120_000;
/** RunPod's clock and ours differ by less than this. */
const CLOCK_SLACK_MS = 60_000;

/**
 * Whether a delayed effect is still needed. It may have waited through a crash or an outage, and its reason may have
 * passed. Above all, `/run` must not start a paid run for an attempt that is no longer current.
 */
export function isStillNeeded(state: JobState, effect: Effect, now: number): boolean {
  const attempt = currentAttempt(state);
  switch (effect.kind) {
    case 'send':
      return attempt?.number === effect.attempt && attempt.phase === 'sending';
    case 'fetch_result':
      return attempt?.number === effect.attempt && attempt.moving;
    case 'check':
    case 'stop_worker':
      return attempt?.number === effect.attempt;
    case 'cancel_run':
      // Later than this RunPod has ended the run in any case, and may reject the call permanently.
      return now < state.deadline + RUN_GRACE_MS + CLOCK_SLACK_MS;
    case 'ask_admission':
      return state.waiting !== null && !isTerminal(state.status);
    case 'project':
    case 'release':
    case 'notify':
      return true;
  }
}
