import { isTerminal, type JobError } from '../../contract/job.ts';
import type { Policy } from '../../contract/limits.ts';
import type { Turn } from './transition.ts';
import type { Reply } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { firstCheckAt } from './run-accepted.ts';
import { timeoutError } from './worker-messages.ts';

/** As long as a worker's connection may be silent (durable-objects/job/sockets.ts): looked at this often, a dead one stands for two minutes at most. */
const CHANNEL_LOOK_MS = 60_000;

/** Does whatever has come due. Running it early or twice does nothing more. */
export function onClock(turn: Turn): Reply {
  const { state, now } = turn;
  if (isTerminal(state.status)) {
    return 'ignored';
  }
  const attempt = currentAttempt(state);
  if (state.cancel !== null && now >= state.cancel.close_at) {
    turn.finish('canceled', null);
    return 'done';
  }
  if (state.started_at === null && due(state.start_deadline, now)) {
    endUnstarted(turn, attempt);
    return 'done';
  }
  if (now >= state.deadline) {
    onDeadline(turn, attempt);
    if (isTerminal(state.status)) {
      return 'done';
    }
  }
  if (state.waiting !== null && now >= state.waiting.ask_at) {
    turn.ask();
    return 'done';
  }
  if (attempt === undefined) {
    return 'ignored';
  }
  const error = endedBy(attempt, now);
  if (error !== null) {
    // Nothing fences a run off that no worker claims: the provider may have it after all, and is told to cancel it.
    turn.retryOrFail(attempt, 'lost', error, attempt.settle_at !== null && workersReport(state));
    return 'done';
  }
  if (attempt.phase === 'unknown' && due(attempt.due_at, now)) {
    if (workersReport(state)) {
      turn.retryOrFail(attempt, 'superseded', unknownRun(attempt.number), true);
    } else {
      turn.retryOrFail(attempt, 'lost', unknownForEver(attempt.number), true);
    }
    return 'done';
  }
  if (attempt.phase === 'sending' && due(attempt.due_at, now)) {
    attempt.due_at = null;
    turn.do({ kind: 'send', attempt: attempt.number });
  }
  if (due(attempt.check_at, now) && attempt.run_id !== null) {
    attempt.check_at = turn.nextCheck(attempt);
    turn.do({ kind: 'check', attempt: attempt.number, run_id: attempt.run_id });
  }
  // An alarm that rang too early changes nothing, and nothing need be stored.
  return turn.effects.length > 0 ? 'done' : 'ignored';
}

const due = (at: number | null, now: number): boolean => at !== null && now >= at;

/**
 * Before any worker started it ends here. Later: the worker stops by itself at the deadline; it gets a grace to say so. A worker that
 * knows no deadline is stopped at once, unless it is done and its results are on their way.
 */
function onDeadline(turn: Turn, attempt: Attempt | undefined): void {
  const { state, now } = turn;
  const mayFinish = attempt?.phase === 'claimed' && (workersReport(state) || attempt.moving);
  if (state.started_at === null) {
    endUnstarted(turn, attempt);
  } else if (!mayFinish || now >= closeAt(state, turn.policy)) {
    turn.finish('failed', timeoutError(state.attempts.length));
  } else if (workersReport(state)) {
    turn.do({ kind: 'stop_worker', attempt: attempt.number, reason: 'deadline' });
  }
}

/** The time is up of a job that no worker ever took: `expired`, or failed where it is known what it waited for in vain. */
function endUnstarted(turn: Turn, attempt: Attempt | undefined): void {
  const why = attempt?.held ?? null;
  if (why === null) {
    turn.finish('expired', null);
  } else {
    turn.finish('failed', why);
  }
}

/** When a running job is closed whether its worker says anything or not. */
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

/** No claim could fence off a run that was taken after all: another one might be the second. */
const unknownForEver = (attempt: number): JobError => ({
  code: 'provider_failed',
  message: 'RunPod did not answer whether it took the run. It is not sent again, for it may have been taken.',
  at: 'provider',
  retryable: false,
  attempt,
});

/** When the machine next wants a `clock` signal; null when only something from outside can move the job. */
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
      // Nobody knows the run's id, so RunPod is not asked: the waking alone shows whether the worker's connection still lives.
      times.push(now + CHANNEL_LOOK_MS);
    }
    const first = firstCheckAt(state, attempt);
    if (attempt.phase === 'sending' && now < first) {
      // When its run will be asked about first: the alarm need not be set once more when RunPod has taken it.
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
