import type { EventBody, LiveEvent } from '../../contract/events.ts';
import { type JobError, type Stage, type Status, type TerminalStatus } from '../../contract/job.ts';
import type { Policy } from '../../contract/limits.ts';
import type { Effect, Reply } from './signals.ts';
import { stopExecuting } from './executed.ts';
import { fitEvent } from './event-size.ts';
import { jsonBytes } from './size.ts';
import { type Attempt, currentAttempt, type JobState } from './state.ts';
import { iso } from '../../lib/time.ts';

/** The result of one signal. */
export type Step = {
  state: JobState;
  events: EventBody[];
  effects: Effect[];
  /** Sent to current watchers and not stored. */
  live: LiveEvent[];
  /** False when losing the new state would lose nothing, so that it need not be stored yet. */
  durable: boolean;
  reply: Reply;
};

/** One application of the machine to one signal. The parts of the machine read and write it. */
export class Transition {
  readonly state: JobState;
  readonly policy: Policy;
  readonly now: number;
  readonly events: EventBody[] = [];
  readonly effects: Effect[] = [];
  readonly live: LiveEvent[] = [];
  /** Set when losing the change would lose nothing, because it will be sent again. */
  passing = false;

  constructor(state: JobState, policy: Policy, now: number) {
    this.state = state;
    this.policy = policy;
    this.now = now;
  }

  /** Appends an event to the log. When the log is full, drops events that a worker can cause without limit. */
  log(event: EventBody): void {
    if (event.event !== 'status' && this.isLogFull) {
      return;
    }
    const fitted = fitEvent(event);
    this.state.logged_bytes += jsonBytes(fitted.data);
    this.events.push(fitted);
  }

  private get isLogFull(): boolean {
    return this.state.logged_bytes >= MAX_LOG_BYTES;
  }

  /** Sends progress to current watchers. */
  show(progress: Extract<EventBody, { event: 'progress' }>): void {
    const fitted = fitEvent(progress);
    if (fitted.event === 'progress') {
      this.live.push(fitted);
    }
  }

  do(effect: Effect): void {
    this.effects.push(effect);
  }

  /** Moves an unfinished job to a status and stage, and logs a change. */
  move(status: Status, stage: Stage | null): void {
    const { state } = this;
    if (state.status === status && state.stage === stage) {
      return;
    }
    const listed = state.status !== status;
    state.status = status;
    state.stage = stage;
    if (listed || !this.isLogFull) {
      this.logStatus();
    }
    if (listed) {
      this.notify();
    }
  }

  /** Ends the job and its current attempt. */
  finish(status: TerminalStatus, error: JobError | null): void {
    const { state } = this;
    const attempt = currentAttempt(state);
    if (attempt !== undefined) {
      this.close(attempt, status === 'succeeded' ? 'succeeded' : status === 'failed' ? 'failed' : 'canceled', error);
    }
    state.status = status;
    state.stage = null;
    state.error = this.traced(error);
    state.completed_at = this.now;
    this.logStatus();
    this.do({ kind: 'release' });
    this.notify();
  }

  /** Ends an attempt. Cancels its run at RunPod unless it is known to have finished there. */
  close(attempt: Attempt, outcome: NonNullable<Attempt['outcome']>, error: JobError | null, runIsOver = false): void {
    const reported = outcome === 'succeeded';
    stopExecuting(attempt, this.now);
    attempt.phase = 'finished';
    attempt.outcome = outcome;
    attempt.error = this.traced(error);
    attempt.ended_at = this.now;
    attempt.due_at = attempt.check_at = attempt.lost_at = attempt.settle_at = null;
    if (attempt.run_id !== null && !runIsOver && !reported) {
      this.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
    }
  }

  /**
   * The job is stored and waits for a slot of its account. It asks at once, because a slot may have become free before
   * the job was stored. Later the account notifies the job, and the job asks again in case the notification was lost.
   */
  wait(): void {
    this.ask();
    this.logStatus();
    this.notify();
  }

  /** Asks the account whether the job may begin, and again after `ASK_MS`. */
  ask(): void {
    this.state.waiting = { ask_at: this.now + ASK_MS };
    this.do({ kind: 'ask_admission' });
  }

  /** Begins the next attempt: the job is queued, and `/run` will be called. */
  begin(): void {
    const { state } = this;
    const attempt = freshAttempt(state.attempts.length + 1, state.endpoint, this.now);
    state.attempts.push(attempt);
    state.progress = null;
    state.progress_log = { ...state.progress_log, at: 0, nodes: {} };
    state.outputs = [];
    state.timings = {};
    this.do({ kind: 'send', attempt: attempt.number });
    // Logged even when the status does not change, so that the log shows the beginning of each attempt.
    state.status = 'queued';
    state.stage = 'capacity';
    this.logStatus();
    this.notify();
  }

  /**
   * Handles an attempt that ended without a result. Starts another attempt when the error is retryable, attempts are
   * left and the job is not canceled. Otherwise the job fails.
   */
  retryOrFail(attempt: Attempt, outcome: 'failed' | 'lost' | 'superseded', error: JobError, runIsOver: boolean): void {
    const { state } = this;
    this.close(attempt, outcome, error, runIsOver);
    if (state.cancel !== null) {
      this.finish('canceled', null);
      return;
    }
    if (
      error.retryable &&
      this.now < state.deadline &&
      claimedAttempts(state) < this.policy.max_attempts &&
      state.attempts.length < MAX_ATTEMPTS
    ) {
      this.begin();
      return;
    }
    this.finish('failed', error);
  }

  /** Adds RunPod's id of the run to the error, if there was a run. */
  private traced(error: JobError | null): JobError | null {
    const runId = error === null ? null : (this.state.attempts[error.attempt - 1]?.run_id ?? null);
    return error === null || runId === null ? error : { ...error, upstream_id: runId };
  }

  /**
   * When to poll RunPod next. A run whose worker has an open channel is polled rarely, because the channel shows when
   * the worker leaves.
   */
  nextCheck(attempt: Attempt): number {
    return this.now + this.policy.poll_interval * 1000 * (attempt.channel_open ? POLLS_PER_CHECK_OF_OPEN_CHANNEL : 1);
  }

  /** Sends the last logged status to lists and webhooks. */
  private notify(): void {
    const { state, now } = this;
    const sequence = state.last_event + this.events.length;
    this.do({ kind: 'notify', sequence, status: state.status, tries: state.attempts.length, at: now });
  }

  private logStatus(): void {
    const { state } = this;
    this.log({
      event: 'status',
      data: {
        status: state.status,
        stage: state.stage,
        attempt: state.attempts.length,
        ...(state.error === null ? {} : { error: state.error }),
        at: iso(this.now),
      },
    });
  }
}

/** How often a queued job asks its account, in case a notification was lost. */
export const ASK_MS = 60_000;
/** The most attempts of a job, including those that no worker claimed. */
export const MAX_ATTEMPTS = 6;
/**
 * The maximum size of a job's log. Beyond it only status changes are stored. An hour of a graph of 2,000 nodes logs
 * about 1 MB, and 1,000 outputs with the longest texts 3 MB. A watcher from the first event receives all of it from
 * memory.
 */
export const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** The factor by which a run with an open channel is polled less often. */
const POLLS_PER_CHECK_OF_OPEN_CHANNEL = 4;
/** How long to wait for the worker's report after its run has finished at RunPod. */
export const SETTLE_MS = 10_000;

const claimedAttempts = (state: JobState): number =>
  state.attempts.filter((attempt) => attempt.claimed_at !== null).length;

const freshAttempt = (number: number, endpoint: string, now: number): Attempt => ({
  number,
  endpoint,
  phase: 'sending',
  outcome: null,
  created_at: now,
  accepted_at: null,
  claimed_at: null,
  ended_at: null,
  run_id: null,
  claim: null,
  worker: null,
  report: null,
  error: null,
  acked: 0,
  channel_open: false,
  held: null,
  refusals: 0,
  due_at: null,
  hinted_at: null,
  check_at: null,
  lost_at: null,
  settle_at: null,
  settle_error: null,
  called: false,
  leaving: false,
  looks: 0,
  moving: false,
  execution_ms: null,
  executing_since: null,
  executed_ms: 0,
  log_messages: 0,
});

/** The attempt with this number, if it is the current one. */
export const attemptIfCurrent = (transition: Transition, number: number): Attempt | undefined => {
  const attempt = currentAttempt(transition.state);
  return attempt?.number === number ? attempt : undefined;
};
