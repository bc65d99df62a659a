import type { EventBody, LiveEvent } from '../../contract/events.ts';
import { type JobError, type Stage, type Status, type TerminalStatus } from '../../contract/job.ts';
import type { Policy } from '../../contract/limits.ts';
import type { Effect, Reply } from './signals.ts';
import { stopExecuting } from './executed.ts';
import { fitEvent } from './event-size.ts';
import { jsonBytes } from './size.ts';
import { type Attempt, currentAttempt, type JobState } from './state.ts';
import { iso } from '../../lib/time.ts';

/** What the machine makes of one signal. */
export type Step = {
  state: JobState;
  events: EventBody[];
  effects: Effect[];
  /** Shown to whoever watches now and not kept. */
  live: LiveEvent[];
  /** False where nothing would be lost if the object forgot the new state: it need not be stored before more comes. */
  durable: boolean;
  reply: Reply;
};

/** One pass of the machine over one signal: what the parts of the machine read and write. */
export class Turn {
  readonly state: JobState;
  readonly policy: Policy;
  readonly now: number;
  readonly events: EventBody[] = [];
  readonly effects: Effect[] = [];
  readonly live: LiveEvent[] = [];
  /** Set where all that changed comes again if it is forgotten. */
  passing = false;

  constructor(state: JobState, policy: Policy, now: number) {
    this.state = state;
    this.policy = policy;
    this.now = now;
  }

  /** Appends an event to the log, unless that is full and the event is one of those that a worker can cause without end. */
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

  /** Shows progress to whoever watches now. */
  show(progress: Extract<EventBody, { event: 'progress' }>): void {
    const fitted = fitEvent(progress);
    if (fitted.event === 'progress') {
      this.live.push(fitted);
    }
  }

  do(effect: Effect): void {
    this.effects.push(effect);
  }

  /** Moves a job that is not terminal to a status and stage, and says so in the log if anything changed. */
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

  /** Ends the job. Whatever attempt still counts is closed with it. */
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

  /** Ends an attempt. Its run at RunPod is canceled unless it is known to be over there. */
  close(attempt: Attempt, outcome: NonNullable<Attempt['outcome']>, error: JobError | null, runIsOver = false): void {
    const reported = outcome === 'succeeded';
    stopExecuting(attempt, this.now);
    attempt.phase = 'over';
    attempt.outcome = outcome;
    attempt.error = this.traced(error);
    attempt.ended_at = this.now;
    attempt.due_at = attempt.check_at = attempt.lost_at = attempt.settle_at = null;
    if (attempt.run_id !== null && !runIsOver && !reported) {
      this.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
    }
  }

  /**
   * The job is stored and waits for its account. It asks at once: a place may have become free between the account's answer and the
   * storing, when nobody could be told of it. Later the account tells, and the job asks in case it was not heard.
   */
  wait(): void {
    this.ask();
    this.logStatus();
    this.notify();
  }

  /** Asks the account whether the job may begin, and again in a while. */
  ask(): void {
    this.state.waiting = { ask_at: this.now + ASK_MS };
    this.do({ kind: 'ask_admission' });
  }

  /** Begins the next attempt: the job is queued again and `/run` will be called. */
  begin(): void {
    const { state } = this;
    const attempt = freshAttempt(state.attempts.length + 1, state.endpoint, this.now);
    state.attempts.push(attempt);
    state.progress = null;
    state.progress_log = { ...state.progress_log, at: 0, nodes: {} };
    state.outputs = [];
    state.timings = {};
    this.do({ kind: 'send', attempt: attempt.number });
    // Said even when the words stay the same: the log shows each attempt begin.
    state.status = 'queued';
    state.stage = 'capacity';
    this.logStatus();
    this.notify();
  }

  /**
   * An attempt ended without a result. Tries again when the error may pass, the budget allows and the job was not asked
   * to stop; else the job fails with it.
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
      state.attempts.length < MAX_SENDS
    ) {
      this.begin();
      return;
    }
    this.finish('failed', error);
  }

  /** The error with RunPod's id of the run that it is about, where there was one. */
  private traced(error: JobError | null): JobError | null {
    const runId = error === null ? null : (this.state.attempts[error.attempt - 1]?.run_id ?? null);
    return error === null || runId === null ? error : { ...error, upstream_id: runId };
  }

  /** When to ask RunPod for the status of an attempt's run next. A worker on its channel is asked about seldom: when it goes, the channel tells. */
  nextCheck(attempt: Attempt): number {
    return this.now + this.policy.poll_interval * 1000 * (attempt.channel_open ? POLLS_PER_CHECK_OF_OPEN_CHANNEL : 1);
  }

  /** Has lists and webhooks learn the status that was logged last. */
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

/** How often a job in line asks its account. The account tells it anyhow; this repairs what got lost. */
export const ASK_MS = 60_000;
/** Attempts of every kind a job may have, those that no worker ever claimed included. */
export const MAX_SENDS = 6;
/**
 * Events of a job beyond this many bytes are not kept but for changes of status. An hour of a graph of 2,000 nodes logs about 1 MB, a
 * thousand outputs with the longest texts 3 MB. A watcher that begins at the first event is sent all of it from memory.
 */
export const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** How much less often RunPod is asked about a worker whose channel is open. */
const POLLS_PER_CHECK_OF_OPEN_CHANNEL = 4;
/** How long a run that is over at RunPod may go without its worker's report, which can still be on its way. */
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

/** The attempt with this number, if it is the one that counts. */
export const counting = (turn: Turn, number: number): Attempt | undefined => {
  const attempt = currentAttempt(turn.state);
  return attempt?.number === number ? attempt : undefined;
};
