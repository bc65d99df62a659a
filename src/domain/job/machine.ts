import { isTerminal, type JobError } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import type { Policy } from '../../contract/limits.ts';
import { onClock } from './clock.ts';
import { startExecuting, stopExecuting } from './executed.ts';
import { FIRST_POLL_MS, onRunResult } from './provider-reports.ts';
import { onRunAccepted, onRunNamed } from './run-accepted.ts';
import { onRunStatus } from './run-status.ts';
import type { Reply, Signal } from './signals.ts';
import { currentAttempt, type JobState, workersReport } from './state.ts';
import { attemptIfCurrent, Transition, type Step } from './transition.ts';
import { onClaim, onComplete, onWorkerMessage, acknowledgeExcess } from './worker-messages.ts';

/**
 * The first wait after a temporary refusal of `/run`; it doubles up to the maximum. RunPod asks for exponential
 * back-off on 429.
 */
const REFUSED_BACKOFF_MS = 1_000;
const REFUSED_BACKOFF_MAX_MS = 30_000;
/**
 * The longest `Retry-After` that a refusal may cause: the longest pause of the circuit breaker
 * (domain/endpoint/circuit-breaker.ts). With a wait of a day the job would not be tried again before its deadline,
 * although the next call might succeed.
 */
const MAX_RETRY_AFTER_MS = 120_000;
/**
 * RunPod sends a webhook up to three times, 10 s apart (reference/runpod.md 2.6). Webhooks that are closer together
 * count as one.
 */
const WEBHOOK_SPACING_MS = 2_000;

/** Makes the state of a job that was just accepted and has no attempt yet. */
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
 * The job machine: `(state, signal, now) → (state, events, effects, reply)`. It has no I/O and no clock, so that tests
 * can try every order of signals. Rules:
 * - a terminal status is final, and its event is the last of the log;
 * - at most one attempt is current, and only the holder of its claim may report for it;
 * - after an unknown outcome of `/run` the machine waits and never repeats the call: a new attempt fences off the old
 *   one.
 *
 * Does not modify the given state.
 */
export function step(before: JobState, signal: Signal, now: number, policy: Policy): Step {
  if (signal.kind === 'worker_message' && signal.message.type === 'dropped') {
    return acknowledgeExcess(before, signal.attempt, signal.claim, signal.message.seq);
  }
  const transition = new Transition(structuredClone(before), policy, now);
  const reply = react(transition, signal);
  transition.state.last_event += transition.events.length;
  const { state, events, effects, live } = transition;
  return { state, events, effects, live, durable: !transition.passing || events.length > 0, reply };
}

function react(transition: Transition, signal: Signal): Reply {
  switch (signal.kind) {
    case 'created':
      if (transition.state.last_event > 0) {
        return 'ignored';
      }
      if (transition.state.waiting === null) {
        transition.begin();
      } else {
        transition.wait();
      }
      return 'done';
    case 'admitted':
      return onAdmitted(transition);
    case 'admission_answered':
      return onAsked(transition, signal.has_slot);
    case 'routed':
      return onRouted(transition, signal.attempt, signal.endpoint);
    case 'run_held':
      return onRunHeld(transition, signal);
    case 'run_named':
      return onRunNamed(transition, signal.attempt, signal.run_id);
    case 'run_accepted':
      return onRunAccepted(transition, signal.attempt, signal.run_id);
    case 'run_refused':
      return onRunRefused(transition, signal);
    case 'run_unknown':
      return onRunUnknown(transition, signal.attempt);
    case 'claim':
      return onClaim(transition, signal);
    case 'channel_opened':
    case 'channel_closed':
      return onChannel(transition, signal.attempt, signal.claim, signal.kind === 'channel_opened');
    case 'worker_message':
      return onWorkerMessage(transition, signal);
    case 'complete':
      return onComplete(transition, signal.report);
    case 'cancel':
      return onCancel(transition);
    case 'erase':
      if (!isTerminal(transition.state.status)) {
        return 'ignored';
      }
      transition.state.erased = true;
      return 'done';
    case 'run_hint':
      return onProviderWebhook(transition, signal.attempt);
    case 'run_status':
      return onRunStatus(transition, signal);
    case 'run_result':
      return onRunResult(transition, signal);
    case 'clock':
      return onClock(transition);
  }
}

function onAdmitted(transition: Transition): Reply {
  const { state } = transition;
  if (state.waiting === null || isTerminal(state.status)) {
    return 'ignored';
  }
  state.waiting = null;
  transition.begin();
  return 'done';
}

/**
 * Handles the account's answer. When the job has already released its slot, an answer that grants a slot must be
 * released too.
 */
function onAsked(transition: Transition, mine: boolean): Reply {
  if (isTerminal(transition.state.status)) {
    transition.do({ kind: 'release' });
    return 'done';
  }
  return mine ? onAdmitted(transition) : 'ignored';
}

/**
 * Sets the endpoint of an attempt to another one. Stored before `/run` is called, so that the outcome belongs to this
 * endpoint.
 */
function onRouted(transition: Transition, number: number, endpoint: string): Reply {
  const attempt = attemptIfCurrent(transition, number);
  // When workers claim runs, the machine simply waits after a call that may not have been made.
  const called = !workersReport(transition.state);
  if (attempt === undefined || attempt.phase !== 'sending' || (attempt.endpoint === endpoint && !called)) {
    return 'ignored';
  }
  attempt.endpoint = endpoint;
  attempt.called = called;
  return 'done';
}

function onRunRefused(transition: Transition, signal: Extract<Signal, { kind: 'run_refused' }>): Reply {
  const attempt = attemptIfCurrent(transition, signal.attempt);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  attempt.called = false;
  if (signal.retryable) {
    attempt.held = providerError(signal, attempt.number);
    const backoff = Math.min(REFUSED_BACKOFF_MS * 2 ** attempt.refusals, REFUSED_BACKOFF_MAX_MS);
    attempt.refusals += 1;
    attempt.due_at = transition.now + Math.max(backoff, Math.min(signal.retry_after_ms ?? 0, MAX_RETRY_AFTER_MS));
    return 'done';
  }
  const error = { ...providerError(signal, attempt.number), at: signal.at ?? 'provider', retryable: false };
  transition.retryOrFail(attempt, 'failed', error, true);
  return 'done';
}

function onRunHeld(transition: Transition, signal: Extract<Signal, { kind: 'run_held' }>): Reply {
  const attempt = attemptIfCurrent(transition, signal.attempt);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  attempt.called = false;
  attempt.held = providerError(signal, attempt.number);
  attempt.due_at = transition.now + signal.wait_ms;
  return 'done';
}

const providerError = ({ code, message }: Pick<JobError, 'code' | 'message'>, attempt: number): JobError => ({
  code,
  message,
  at: 'provider',
  retryable: true,
  attempt,
});

function onRunUnknown(transition: Transition, number: number): Reply {
  const attempt = attemptIfCurrent(transition, number);
  if (attempt === undefined || attempt.phase !== 'sending') {
    return 'ignored';
  }
  if (!workersReport(transition.state) && !attempt.called) {
    transition.do({ kind: 'send', attempt: number });
    return 'done';
  }
  attempt.phase = 'unknown';
  attempt.due_at = transition.now + transition.policy.claim_grace * 1000;
  return 'done';
}

function onChannel(transition: Transition, number: number, claim: string, open: boolean): Reply {
  const attempt = attemptIfCurrent(transition, number);
  if (attempt === undefined || attempt.claim !== claim) {
    return 'finished';
  }
  if (!open && !attempt.channel_open) {
    // A dead connection may be detected before its close arrives, so its grace period has already begun.
    return 'ignored';
  }
  attempt.channel_open = open;
  if (!open) {
    stopExecuting(attempt, transition.now);
  } else if (transition.state.stage === 'executing') {
    startExecuting(attempt, transition.now);
  }
  if (open && attempt.check_at !== null) {
    attempt.check_at = transition.nextCheck(attempt);
  }
  attempt.lost_at = open ? null : transition.now + transition.policy.channel_grace * 1000;
  if (!open && attempt.run_id !== null) {
    transition.do({ kind: 'check', attempt: number, run_id: attempt.run_id });
  }
  return 'done';
}

function onCancel(transition: Transition): Reply {
  const { state } = transition;
  if (isTerminal(state.status) || state.cancel !== null) {
    return 'ignored';
  }
  state.cancel = { at: transition.now, close_at: transition.now + transition.policy.cancel_grace * 1000 };
  const attempt = currentAttempt(state);
  if (attempt?.phase === 'claimed') {
    transition.move('canceling', state.stage);
    if (workersReport(state)) {
      transition.do({ kind: 'stop_worker', attempt: attempt.number, reason: 'client' });
    } else if (attempt.run_id !== null) {
      transition.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
      attempt.looks = 0;
      attempt.check_at = transition.now + FIRST_POLL_MS;
    }
    return 'done';
  }
  transition.finish('canceled', null);
  return 'done';
}

/** Handles RunPod's webhook. The first one causes a poll at once; all others shortly after it share one later poll. */
function onProviderWebhook(transition: Transition, number: number): Reply {
  const attempt = attemptIfCurrent(transition, number);
  if (attempt === undefined || attempt.run_id === null) {
    return 'ignored';
  }
  const next = (attempt.hinted_at ?? -Infinity) + WEBHOOK_SPACING_MS;
  if (transition.now < next) {
    attempt.check_at = Math.min(attempt.check_at ?? next, next);
    return 'done';
  }
  attempt.hinted_at = transition.now;
  transition.do({ kind: 'check', attempt: number, run_id: attempt.run_id });
  return 'done';
}
