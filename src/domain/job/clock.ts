import { isTerminal, type JobError } from '../../contract/job.ts';
import type { Policy } from '../../contract/limits.ts';
import type { Transition } from './transition.ts';
import type { Reply } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { firstCheckAt } from './run-accepted.ts';
import { timeoutError } from './worker-messages.ts';

/**
 * How often a connection is checked: its idle timeout (durable-objects/job/sockets.ts), so a dead one is found within
 * two minutes.
 */
const CHANNEL_CHECK_MS = 60_000;

/** Handles everything that is due. Running it early or twice has no further effect. */
export function onClock(transition: Transition): Reply {
  const { state, now } = transition;
  if (isTerminal(state.status)) {
    return 'ignored';
  }
  const attempt = currentAttempt(state);
  if (state.cancel !== null && now >= state.cancel.close_at) {
    transition.finish('canceled', null);
    return 'done';
  }
  if (state.started_at === null && due(state.start_deadline, now)) {
    endUnstarted(transition, attempt);
    return 'done';
  }
  if (now >= state.deadline) {
    onDeadline(transition, attempt);
    if (isTerminal(state.status)) {
      return 'done';
    }
  }
  if (state.waiting !== null && now >= state.waiting.ask_at) {
    transition.ask();
    return 'done';
  }
  if (attempt === undefined) {
    return 'ignored';
  }
  const error = endedBy(attempt, now);
  if (error !== null) {
    // Without claims nothing fences a run off. The provider may have accepted it after all, so it is canceled there.
    transition.retryOrFail(attempt, 'lost', error, attempt.settle_at !== null && workersReport(state));
    return 'done';
  }
  if (attempt.phase === 'unknown' && due(attempt.due_at, now)) {
    if (workersReport(state)) {
      transition.retryOrFail(attempt, 'superseded', unknownRun(attempt.number), true);
    } else {
      transition.retryOrFail(attempt, 'lost', unknownRunError(attempt.number), true);
    }
    return 'done';
  }
  if (attempt.phase === 'sending' && due(attempt.due_at, now)) {
    attempt.due_at = null;
    transition.do({ kind: 'send', attempt: attempt.number });
  }
  if (due(attempt.check_at, now) && attempt.run_id !== null) {
    attempt.check_at = transition.nextCheck(attempt);
    transition.do({ kind: 'check', attempt: attempt.number, run_id: attempt.run_id });
  }
  // An early alarm changes nothing, so nothing needs to be stored.
  return transition.effects.length > 0 ? 'done' : 'ignored';
}

const due = (at: number | null, now: number): boolean => at !== null && now >= at;

/**
 * Handles the deadline. A job that no worker has started ends here. A worker stops by itself at the deadline and gets a
 * grace period to report. A worker that does not know the deadline is stopped at once, unless it has finished and its
 * results are being fetched.
 */
function onDeadline(transition: Transition, attempt: Attempt | undefined): void {
  const { state, now } = transition;
  const mayFinish = attempt?.phase === 'claimed' && (workersReport(state) || attempt.moving);
  if (state.started_at === null) {
    endUnstarted(transition, attempt);
  } else if (!mayFinish || now >= closeAt(state, transition.policy)) {
    transition.finish('failed', timeoutError(state.attempts.length));
  } else if (workersReport(state)) {
    transition.do({ kind: 'stop_worker', attempt: attempt.number, reason: 'deadline' });
  }
}

/** Ends a job that no worker has claimed in time: `expired`, or failed when the reason for the wait is known. */
function endUnstarted(transition: Transition, attempt: Attempt | undefined): void {
  const why = attempt?.held ?? null;
  if (why === null) {
    transition.finish('expired', null);
  } else {
    transition.finish('failed', why);
  }
}

/** When a running job is closed even without a report from its worker. */
const closeAt = (state: JobState, policy: Policy): number => state.deadline + policy.deadline_grace * 1000;

function endedBy(attempt: Attempt, now: number): JobError | null {
  if (due(attempt.settle_at, now)) {
    return attempt.settle_error;
  }
  if (due(attempt.lost_at, now)) {
    return {
      code: 'worker_lost',
      message: 'The worker that ran the job went away.',
      at: 'worker',
      retryable: true,
      attempt: attempt.number,
    };
  }
  return null;
}

const unknownRun = (attempt: number): JobError => ({
  code: 'provider_failed',
  message: 'RunPod did not answer whether it took the run, and no worker claimed it.',
  at: 'provider',
  retryable: true,
  attempt,
});

/** Without claims nothing fences off a run that was accepted after all, so another run might be a second one. */
const unknownRunError = (attempt: number): JobError => ({
  code: 'provider_failed',
  message: 'RunPod did not answer whether it took the run. It is not sent again, for it may have been taken.',
  at: 'provider',
  retryable: false,
  attempt,
});

/** When the machine needs the next `clock` signal; null when only an outside event can change the job. */
export function wakeAt(state: JobState, policy: Policy, now: number): number | null {
  if (isTerminal(state.status)) {
    return null;
  }
  const times: number[] = [now < state.deadline ? state.deadline : closeAt(state, policy)];
  if (state.started_at === null && state.start_deadline !== null) {
    times.push(state.start_deadline);
  }
  if (state.cancel !== null) {
    times.push(state.cancel.close_at);
  }
  if (state.waiting !== null) {
    times.push(state.waiting.ask_at);
  }
  const attempt = currentAttempt(state);
  if (attempt !== undefined) {
    if (attempt.channel_open && attempt.check_at === null) {
      // The run's id is unknown, so RunPod cannot be polled. Waking up shows whether the worker's connection still
      // works.
      times.push(now + CHANNEL_CHECK_MS);
    }
    const first = firstCheckAt(state, attempt);
    if (attempt.phase === 'sending' && now < first) {
      // The time of the first check of the run, so that the alarm does not change when RunPod accepts it.
      times.push(first);
    }
    for (const at of [attempt.due_at, attempt.check_at, attempt.lost_at, attempt.settle_at]) {
      if (at !== null) {
        times.push(at);
      }
    }
  }
  return Math.min(...times);
}
