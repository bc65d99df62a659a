import { FIRST_LOOK_MS } from './provider-reports.ts';
import type { Reply } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { counting, type Turn } from './transition.ts';

/** How a job learns that RunPod took the run of an attempt, and its id: from the answer of `/run`, or from the run's webhook. */

/** A run that no worker has claimed by now waits for one: what for is worth a question. A warm worker takes it sooner. */
export const FIRST_CHECK_MS = 5_000;

const firstCheckMs = (state: JobState): number => (workersReport(state) ? FIRST_CHECK_MS : FIRST_LOOK_MS);

/** When an attempt's run is asked about first, if RunPod takes it at once. */
export const firstCheckAt = (state: JobState, attempt: Attempt): number => attempt.created_at + firstCheckMs(state);

/** RunPod has the run. Told of an attempt that is over, it is canceled there; told twice, the first counts. */
export function onRunAccepted(turn: Turn, number: number, runId: string): Reply {
  const attempt = turn.state.attempts[number - 1];
  if (attempt === undefined || attempt.run_id !== null) {
    return 'ignored';
  }
  attempt.run_id = runId;
  attempt.accepted_at = turn.now;
  if (attempt.phase === 'over') {
    // Closed while `/run` was under way: only now is there a run to cancel.
    if (attempt.outcome !== 'succeeded') {
      turn.do({ kind: 'cancel_run', attempt: number, run_id: runId });
    }
    return 'done';
  }
  attempt.held = null;
  const next = turn.nextCheck(attempt);
  const planned = firstCheckAt(turn.state, attempt);
  const first = turn.now < planned ? planned : turn.now + firstCheckMs(turn.state);
  attempt.check_at = attempt.phase === 'claimed' ? next : Math.min(first, next);
  if (attempt.phase !== 'claimed') {
    attempt.phase = 'sent';
    attempt.due_at = null;
  }
  return 'done';
}

/**
 * Whether the name of its run would settle what became of an attempt's `/run`. A short run may be over before `/run` has answered, and a
 * worker may have claimed a run of which `/run` never told.
 */
export function wantsRun(state: JobState, number: number): boolean {
  const attempt = currentAttempt(state);
  if (attempt?.number !== number || attempt.run_id !== null) {
    return false;
  }
  return attempt.phase === 'unknown' || attempt.phase === 'claimed' || (attempt.phase === 'sending' && attempt.called);
}

/** RunPod took the run after all. What it says of it is still asked of RunPod itself. */
export function onRunNamed(turn: Turn, number: number, runId: string): Reply {
  if (counting(turn, number) === undefined || !wantsRun(turn.state, number)) {
    return 'ignored';
  }
  turn.do({ kind: 'check', attempt: number, run_id: runId });
  return onRunAccepted(turn, number, runId);
}
