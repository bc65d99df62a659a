import { isTerminal, type JobError, type Output, type Stage } from '../../contract/job.ts';
import type { CompleteRequest, WorkerError, WorkerMessage } from '../../contract/worker.ts';
import { startExecuting, stopExecuting } from './executed.ts';
import { logLastProgress, showProgress } from './progress.ts';
import { detailsFit, outputsFit } from './size.ts';
import { attemptIfCurrent, type Step, type Transition } from './transition.ts';
import type { Reply, Signal, StopReason } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { iso } from '../../lib/time.ts';

/** The longest stored text of an error or a log message, in characters. */
const MAX_MESSAGE_CHARS = 2_000;
/** The most stored log messages of an attempt. */
export const MAX_LOG_MESSAGES = 1_000;
const MORE_LOG_MESSAGES = `The worker sent more than ${MAX_LOG_MESSAGES} log messages. Those after this one are not kept.`;

/** Decides a claim. It succeeds once per attempt. A repeated call with the same claim id gets the same answer. */
export function onClaim(transition: Transition, signal: Extract<Signal, { kind: 'claim' }>): Reply {
  const { state } = transition;
  const attempt = attemptIfCurrent(transition, signal.attempt);
  const deadline = state.started_at === null ? (state.start_deadline ?? state.deadline) : state.deadline;
  const open = attempt !== undefined && state.cancel === null && transition.now < deadline && workersReport(state);
  if (isTerminal(state.status) || !open) {
    return 'finished';
  }
  if (attempt.phase === 'claimed') {
    if (attempt.claim !== signal.claim) {
      return 'claimed_elsewhere';
    }
    if (!attempt.channel_open) {
      // The worker repeats the claim because the response was lost, so it has not opened its channel yet.
      attempt.lost_at = transition.now + transition.policy.channel_grace * 1000;
    }
    return 'granted';
  }
  attempt.phase = 'claimed';
  attempt.claim = signal.claim;
  attempt.worker = signal.worker;
  attempt.claimed_at = transition.now;
  attempt.held = null;
  attempt.due_at = null;
  attempt.settle_at = null;
  if (attempt.check_at !== null) {
    // The worker will report; RunPod is polled only as a fallback.
    attempt.check_at = transition.nextCheck(attempt);
  }
  attempt.lost_at = transition.now + transition.policy.channel_grace * 1000;
  state.started_at ??= transition.now;
  transition.move('running', 'inputs');
  return 'granted';
}

/** Applies the next message of the worker's channel. A gap or a repetition changes nothing. */
export function onWorkerMessage(transition: Transition, signal: Extract<Signal, { kind: 'worker_message' }>): Reply {
  const attempt = attemptIfCurrent(transition, signal.attempt);
  const reply = orderOf(attempt, signal.claim, signal.message.seq);
  if (attempt !== undefined && reply === 'done') {
    attempt.acked = signal.message.seq;
    record(transition, attempt, signal.message);
  }
  return reply;
}

/** Classifies a message number: `done` means that it is the next one. */
function orderOf(attempt: Attempt | undefined, claim: string, seq: number): Reply {
  if (attempt === undefined || attempt.claim !== claim) {
    return 'finished';
  }
  return seq <= attempt.acked ? 'ignored' : seq > attempt.acked + 1 ? 'gap' : 'done';
}

/**
 * Acknowledges a message beyond the limit without storing it. Copies only the attempt, because there may be thousands
 * per second.
 */
export function acknowledgeExcess(state: JobState, number: number, claim: string, seq: number): Step {
  const current = currentAttempt(state);
  const attempt = current?.number === number ? current : undefined;
  const reply = orderOf(attempt, claim, seq);
  const attempts =
    attempt !== undefined && reply === 'done' ? [...state.attempts.slice(0, -1), { ...attempt, acked: seq }] : null;
  return {
    state: attempts === null ? state : { ...state, attempts },
    events: [],
    effects: [],
    live: [],
    durable: false,
    reply,
  };
}

function record(transition: Transition, attempt: Attempt, message: WorkerMessage): void {
  const { state } = transition;
  switch (message.type) {
    case 'unknown':
    case 'dropped':
      return;
    case 'stage':
      logLastProgress(transition);
      transition.move(state.status, laterStage(message.stage));
      if (state.stage === 'executing') {
        startExecuting(attempt, transition.now);
      } else {
        stopExecuting(attempt, transition.now);
      }
      return;
    case 'progress': {
      const { seq: _seq, type: _type, nodes, ...progress } = message;
      transition.passing = !showProgress(transition, progress, nodes ?? null);
      return;
    }
    case 'output': {
      const outputs = [...state.outputs.filter((known) => known.name !== message.output.name), message.output];
      if (!outputsFit(outputs)) {
        // The final report contains the same error and ends the attempt.
        return;
      }
      state.outputs = outputs;
      transition.log({ event: 'output', data: message.output });
      return;
    }
    case 'log':
      logMessage(transition, attempt, message);
  }
}

/** Stores a worker's log message, up to `MAX_LOG_MESSAGES` per attempt. The first one beyond is replaced by a note. */
function logMessage(
  transition: Transition,
  attempt: Attempt,
  { level, message }: Extract<WorkerMessage, { type: 'log' }>,
): void {
  attempt.log_messages += 1;
  const over = attempt.log_messages - MAX_LOG_MESSAGES;
  if (over > 1) {
    transition.passing = true;
    return;
  }
  const at = iso(transition.now);
  const text = message.slice(0, MAX_MESSAGE_CHARS);
  transition.log({
    event: 'log',
    data: over === 1 ? { level: 'warn', message: MORE_LOG_MESSAGES, at } : { level, message: text, at },
  });
}

/** Limits a stage to those that a worker may report. */
export const laterStage = (stage: Stage): Stage =>
  stage === 'admission' || stage === 'capacity' || stage === 'cold_start' ? 'executing' : stage;

/**
 * Applies the worker's final report. `finished`: the attempt has ended otherwise; `done`: the report counts, now or
 * already.
 */
export function onComplete(transition: Transition, report: CompleteRequest): Reply {
  const { state } = transition;
  const attempt = attemptIfCurrent(transition, report.attempt);
  if (attempt === undefined || attempt.phase !== 'claimed') {
    const past = state.attempts[report.attempt - 1];
    return past?.claim === report.claim && past.outcome === report.outcome ? 'done' : 'finished';
  }
  if (attempt.claim !== report.claim) {
    return 'claimed_elsewhere';
  }
  state.timings = report.timings;
  stopExecuting(attempt, transition.now);
  attempt.executed_ms = report.timings['execution_ms'] ?? attempt.executed_ms;
  attempt.worker = report.worker ?? attempt.worker;
  logLastProgress(transition);
  attempt.report = report.ran_with ?? null;
  switch (report.outcome) {
    case 'succeeded':
      succeed(transition, attempt, report.outputs);
      return 'done';
    case 'failed':
      transition.retryOrFail(attempt, 'failed', jobError(report.error, attempt.number), true);
      return 'done';
    case 'canceled':
      onStopped(transition, attempt);
      return 'done';
  }
}

/** Ends the job successfully with these outputs. */
export function succeed(transition: Transition, attempt: Attempt, outputs: Output[]): void {
  const { state } = transition;
  if (!addOutputs(transition, outputs)) {
    transition.retryOrFail(attempt, 'failed', tooMuchToKeep(attempt.number), true);
    return;
  }
  if (state.progress !== null) {
    state.progress = { ...state.progress, value: 1, nodes_done: state.progress.nodes_total };
  }
  transition.finish('succeeded', null);
}

/** Adds new outputs to the job and its log. False when they are too large to store. */
export function addOutputs(transition: Transition, outputs: Output[]): boolean {
  const { state } = transition;
  if (!outputsFit(outputs)) {
    return false;
  }
  for (const output of outputs) {
    if (!state.outputs.some((known) => known.name === output.name && known.sha256 === output.sha256)) {
      transition.log({ event: 'output', data: output });
    }
  }
  state.outputs = outputs;
  return true;
}

/** Handles a worker that stopped before the end of the graph, by a cancel or because the run was stopped at RunPod. */
function onStopped(transition: Transition, attempt: Attempt): void {
  const { state } = transition;
  if (state.cancel !== null) {
    transition.close(attempt, 'canceled', null, true);
    transition.finish('canceled', null);
  } else if (transition.now >= state.deadline) {
    transition.close(attempt, 'canceled', null, true);
    transition.finish('failed', timeoutError(attempt.number));
  } else {
    const error: JobError = {
      code: 'provider_failed',
      message: 'The run was stopped at RunPod.',
      at: 'provider',
      retryable: true,
      attempt: attempt.number,
    };
    transition.retryOrFail(attempt, 'lost', error, true);
  }
}

const tooMuchToKeep = (attempt: number): JobError => ({
  code: 'output_too_large',
  message: 'The job has more outputs, or longer texts among them, than can be kept.',
  at: 'workflow',
  retryable: false,
  attempt,
});

export const timeoutError = (attempt: number): JobError => ({
  code: 'timeout',
  message: 'The job did not finish before its deadline.',
  at: 'worker',
  retryable: false,
  attempt,
});

export function jobError(error: WorkerError | null | undefined, attempt: number): JobError {
  if (error === null || error === undefined) {
    return {
      code: 'internal',
      message: 'The worker reported a failure without an error.',
      at: 'worker',
      retryable: true,
      attempt,
    };
  }
  const { node, details } = error;
  return {
    code: error.code,
    message: error.message.slice(0, MAX_MESSAGE_CHARS),
    at: error.at,
    retryable: error.retryable,
    attempt,
    ...(node ? { node } : {}),
    ...(details && detailsFit(details) ? { details } : {}),
  };
}

/** Whether this claim may still act for the job: upload files, or open the channel. */
export function checkClaim(transition: Pick<Transition, 'state'>, attempt: number, claim: string): Reply {
  const current = currentAttempt(transition.state);
  if (current === undefined || current.number !== attempt || current.phase !== 'claimed') {
    return 'finished';
  }
  return current.claim === claim ? 'granted' : 'claimed_elsewhere';
}

/** Why a worker that reconnects must stop now; null when it may continue. */
export function stopReason(state: JobState, now: number): StopReason | null {
  if (isTerminal(state.status)) {
    return null;
  }
  return state.cancel !== null ? 'client' : now >= state.deadline ? 'deadline' : null;
}
