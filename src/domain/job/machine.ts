import { isTerminal, type JobError } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import type { Policy } from '../../contract/limits.ts';
import { onClock } from './clock.ts';
import { startExecuting, stopExecuting } from './executed.ts';
import { FIRST_LOOK_MS, onRunResult } from './provider-reports.ts';
import { onRunAccepted, onRunNamed } from './run-accepted.ts';
import { onRunStatus } from './run-status.ts';
import type { Reply, Signal } from './signals.ts';
import { currentAttempt, type JobState, workersReport } from './state.ts';
import { counting, Turn, type Step } from './transition.ts';
import { onClaim, onComplete, onWorkerMessage, passOver } from './worker-messages.ts';

/** First wait after `/run` was refused for now; doubles up to the last. RunPod asks for exponential back-off on 429. */
const REFUSED_BACKOFF_MS = 1_000;
const REFUSED_BACKOFF_MAX_MS = 30_000;
/**
 * The longest wait that a refusal itself may ask for: as long as the breaker's longest pause (domain/endpoint/circuit-breaker.ts). A day's
 * `Retry-After` would leave a job without another try before its deadline, though the next call may well be taken.
 */
const MAX_RETRY_AFTER_MS = 120_000;
/** RunPod sends a webhook up to three times, 10 s apart (reference/runpod.md 2.6); anything denser is one piece of news. */
const HINT_SPACING_MS = 2_000;

/** The state of a job that was just accepted and has no attempt yet. */
export const newState = (job: NewJob, policy: Policy, now = job.created_at): JobState => ({
  id: job.id,
  account: job.account,
  key: job.key,
  price_per_second: job.price_per_second,
  endpoint: job.endpoint,
  fallbacks: job.fallbacks,
  worker: job.worker,
  options: job.options,
  metadata: job.metadata,
  resolved: job.resolved,
  created_at: job.created_at,
  submit_ms: job.received_at === undefined ? null : now - job.received_at,
  deadline: job.deadline,
  start_deadline: job.start_deadline,
  retention_ms: job.retention_ms ?? policy.retention * 1000,
  status: 'queued',
  stage: 'admission',
  started_at: null,
  completed_at: null,
  progress: null,
  outputs: [],
  error: null,
  timings: {},
  waiting: job.waits ? { ask_at: job.created_at } : null,
  cancel: null,
  attempts: [],
  erased: false,
  last_event: 0,
  logged_bytes: 0,
  progress_log: { count: 0, at: 0, nodes: {} },
});

/**
 * The job machine: `(state, signal, now) → (state, events, effects, reply)`. No I/O, no clock of its own, so that every order of
 * signals can be tested. Rules:
 * - a terminal status is final, and the event that announces it is the last of the log;
 * - at most one attempt counts at a time, and only the claim it granted may speak for it;
 * - an unknown outcome of `/run` is waited out, never repeated: a new attempt fences the old one off.
 *
 * The given state is not changed.
 */
export function step(before: JobState, signal: Signal, now: number, policy: Policy): Step {
  if (signal.kind === 'worker_message' && signal.message.type === 'dropped') {
    return passOver(before, signal.attempt, signal.claim, signal.message.seq);
  }
  const turn = new Turn(structuredClone(before), policy, now);
  const reply = react(turn, signal);
  turn.state.last_event += turn.events.length;
  const { state, events, effects, live } = turn;
  return { state, events, effects, live, durable: !turn.passing || events.length > 0, reply };
}

function react(turn: Turn, signal: Signal): Reply {
  switch (signal.kind) {
    case 'created':
      if (turn.state.last_event > 0) {
        return 'ignored';
      }
      if (turn.state.waiting === null) {
        turn.begin();
      } else {
        turn.wait();
      }
      return 'done';
    case 'admitted':
      return onAdmitted(turn);
    case 'asked':
      return onAsked(turn, signal.mine);
    case 'routed':
      return onRouted(turn, signal.attempt, signal.endpoint);
    case 'run_held':
      return onRunHeld(turn, signal);
    case 'run_named':
      return onRunNamed(turn, signal.attempt, signal.run_id);
    case 'run_accepted':
      return onRunAccepted(turn, signal.attempt, signal.run_id);
    case 'run_refused':
      return onRunRefused(turn, signal);
    case 'run_unknown':
      return onRunUnknown(turn, signal.attempt);
    case 'claim':
      return onClaim(turn, signal);
    case 'channel_opened':
    case 'channel_closed':
      return onChannel(turn, signal.attempt, signal.claim, signal.kind === 'channel_opened');
    case 'worker_message':
      return onWorkerMessage(turn, signal);
    case 'complete':
      return onComplete(turn, signal.report);
    case 'cancel':
      return onCancel(turn);
    case 'erase':
      if (!isTerminal(turn.state.status)) {
        return 'ignored';
      }
      turn.state.erased = true;
      return 'done';
    case 'run_hint':
      return onRunHint(turn, signal.attempt);
    case 'run_status':
      return onRunStatus(turn, signal);
    case 'run_result':
      return onRunResult(turn, signal);
    case 'clock':
      return onClock(turn);
  }
}

function onAdmitted(turn: Turn): Reply {
  const { state } = turn;
  if (state.waiting === null || isTerminal(state.status)) {
    return 'ignored';
  }
  state.waiting = null;
  turn.begin();
  return 'done';
}

/** A question that arrived after the job had given its place back got it another one, or put it in line again. */
function onAsked(turn: Turn, mine: boolean): Reply {
  if (isTerminal(turn.state.status)) {
    turn.do({ kind: 'release' });
    return 'done';
  }
  return mine ? onAdmitted(turn) : 'ignored';
}

/** The run goes elsewhere than was planned. Settled before `/run` is called, so that whatever becomes of the call is known by its place. */
function onRouted(turn: Turn, number: number, endpoint: string): Reply {
  const attempt = counting(turn, number);
  // Where workers claim runs, a call that may never have been made is simply waited out.
  const called = !workersReport(turn.state);
  if (attempt === undefined || attempt.phase !== 'sending' || (attempt.endpoint === endpoint && !called)) {
    return 'ignored';
  }
  attempt.endpoint = endpoint;
  attempt.called = called;
  return 'done';
}

function onRunRefused(turn: Turn, signal: Extract<Signal, { kind: 'run_refused' }>): Reply {
  const attempt = counting(turn, signal.attempt);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  attempt.called = false;
  if (signal.again) {
    attempt.held = providerError(signal, attempt.number);
    const backoff = Math.min(REFUSED_BACKOFF_MS * 2 ** attempt.refusals, REFUSED_BACKOFF_MAX_MS);
    attempt.refusals += 1;
    attempt.due_at = turn.now + Math.max(backoff, Math.min(signal.retry_after_ms ?? 0, MAX_RETRY_AFTER_MS));
    return 'done';
  }
  const error = { ...providerError(signal, attempt.number), at: signal.at ?? 'provider', retryable: false };
  turn.retryOrFail(attempt, 'failed', error, true);
  return 'done';
}

function onRunHeld(turn: Turn, signal: Extract<Signal, { kind: 'run_held' }>): Reply {
  const attempt = counting(turn, signal.attempt);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  attempt.called = false;
  attempt.held = providerError(signal, attempt.number);
  attempt.due_at = turn.now + signal.wait_ms;
  return 'done';
}

const providerError = ({ code, message }: Pick<JobError, 'code' | 'message'>, attempt: number): JobError => ({
  code,
  message,
  at: 'provider',
  retryable: true,
  attempt,
});

function onRunUnknown(turn: Turn, number: number): Reply {
  const attempt = counting(turn, number);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  if (!workersReport(turn.state) && !attempt.called) {
    turn.do({ kind: 'send', attempt: number });
    return 'done';
  }
  attempt.phase = 'unknown';
  attempt.due_at = turn.now + turn.policy.claim_grace * 1000;
  return 'done';
}

function onChannel(turn: Turn, number: number, claim: string, open: boolean): Reply {
  const attempt = counting(turn, number);
  if (attempt === undefined || attempt.claim !== claim) {
    return 'over';
  }
  if (!open && !attempt.channel_open) {
    // A connection that died without a word is noticed first and closes later: its grace runs already.
    return 'ignored';
  }
  attempt.channel_open = open;
  if (!open) {
    stopExecuting(attempt, turn.now);
  } else if (turn.state.stage === 'executing') {
    startExecuting(attempt, turn.now);
  }
  if (open && attempt.check_at !== null) {
    attempt.check_at = turn.nextCheck(attempt);
  }
  attempt.lost_at = open ? null : turn.now + turn.policy.channel_grace * 1000;
  if (!open && attempt.run_id !== null) {
    turn.do({ kind: 'check', attempt: number, run_id: attempt.run_id });
  }
  return 'done';
}

function onCancel(turn: Turn): Reply {
  const { state } = turn;
  if (isTerminal(state.status) || state.cancel !== null) {
    return 'ignored';
  }
  state.cancel = { at: turn.now, close_at: turn.now + turn.policy.cancel_grace * 1000 };
  const attempt = currentAttempt(state);
  if (attempt?.phase === 'claimed') {
    turn.move('canceling', state.stage);
    if (workersReport(state)) {
      turn.do({ kind: 'stop_worker', attempt: attempt.number, reason: 'client' });
    } else if (attempt.run_id !== null) {
      turn.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
      attempt.looks = 0;
      attempt.check_at = turn.now + FIRST_LOOK_MS;
    }
    return 'done';
  }
  turn.finish('canceled', null);
  return 'done';
}

/** Hints may come in a flood: the first asks RunPod at once, those right after it share one question a little later. */
function onRunHint(turn: Turn, number: number): Reply {
  const attempt = counting(turn, number);
  if (attempt === undefined || attempt.run_id === null) {
    return 'ignored';
  }
  const next = (attempt.hinted_at ?? -Infinity) + HINT_SPACING_MS;
  if (turn.now < next) {
    attempt.check_at = Math.min(attempt.check_at ?? next, next);
    return 'done';
  }
  attempt.hinted_at = turn.now;
  turn.do({ kind: 'check', attempt: number, run_id: attempt.run_id });
  return 'done';
}
