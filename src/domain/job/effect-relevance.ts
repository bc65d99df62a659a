import { isTerminal } from '../../contract/job.ts';
import type { Effect } from './signals.ts';
import { currentAttempt, type JobState } from './state.ts';

/** RunPod is told to end a run by itself this long after the job's deadline: the worker ends it first if it can. */
export const RUN_GRACE_MS = 120_000;
/** RunPod's clock and ours differ by less than this. */
const CLOCK_SLACK_MS = 60_000;

/**
 * Whether an effect that waited is still to be done. It may have waited through a crash or an outage, and what it was for
 * may be over: above all, `/run` must not start a paid run for an attempt that no longer counts.
 */
export function stillWanted(state: JobState, effect: Effect, now: number): boolean {
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
      // Later than this the run is gone whether anybody canceled it or not, and RunPod may refuse us for ever.
      return now < state.deadline + RUN_GRACE_MS + CLOCK_SLACK_MS;
    case 'ask_admission':
      return state.waiting !== null && !isTerminal(state.status);
    case 'project':
    case 'release':
    case 'notify':
      return true;
  }
}
