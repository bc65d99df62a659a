import { FIRST_POLL_MS } from './provider-reports.ts';
import type { Reply } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { attemptIfCurrent, type Transition } from './transition.ts';

/**
 * Handles the news that RunPod accepted the run of an attempt, and its id: the response of `/run`, or the run's
 * webhook.
 */

/** When an unclaimed run is checked first, to find out what it waits for. A warm worker claims it earlier. */
export const FIRST_CHECK_MS = 5_000;

const firstCheckMs = (state: JobState): number => (workersReport(state) ? FIRST_CHECK_MS : FIRST_POLL_MS);

/** When an attempt's run is checked first, if RunPod accepts it at once. */
export const firstCheckAt = (state: JobState, attempt: Attempt): number => attempt.created_at + firstCheckMs(state);

/** RunPod has accepted the run. For an attempt that has ended, the run is canceled. Of two ids the first counts. */
export function onRunAccepted(transition: Transition, number: number, runId: string): Reply {
  const attempt = transition.state.attempts[number - 1];
  if (attempt === undefined || attempt.run_id !== null) {
    return 'ignored';
  }
  attempt.run_id = runId;
  attempt.accepted_at = transition.now;
  if (attempt.phase === 'finished') {
    // The attempt was closed during the call of `/run`, so the run can be canceled only now.
    if (attempt.outcome !== 'succeeded') {
      transition.do({ kind: 'cancel_run', attempt: number, run_id: runId });
    }
    return 'done';
  }
  attempt.held = null;
  const next = transition.nextCheck(attempt);
  const planned = firstCheckAt(transition.state, attempt);
  const first = transition.now < planned ? planned : transition.now + firstCheckMs(transition.state);
  attempt.check_at = attempt.phase === 'claimed' ? next : Math.min(first, next);
  if (attempt.phase !== 'claimed') {
    attempt.phase = 'sent';
    attempt.due_at = null;
  }
  return 'done';
}

/**
 * Whether the id of the run would settle the outcome of an attempt's `/run`. A short run may finish before `/run`
 * responds, and a worker may have claimed a run for which `/run` never responded.
 */
export function wantsRun(state: JobState, number: number): boolean {
  const attempt = currentAttempt(state);
  if (attempt?.number !== number || attempt.run_id !== null) {
    return false;
  }
  return attempt.phase === 'unknown' || attempt.phase === 'claimed' || (attempt.phase === 'sending' && attempt.called);
}

/** RunPod accepted the run after all. Its status is polled from RunPod, because a webhook is not trusted. */
export function onRunNamed(transition: Transition, number: number, runId: string): Reply {
  if (attemptIfCurrent(transition, number) === undefined || !wantsRun(transition.state, number)) {
    return 'ignored';
  }
  transition.do({ kind: 'check', attempt: number, run_id: runId });
  return onRunAccepted(transition, number, runId);
}
