import { isTerminal, type JobError, type Output, type Stage } from '../../contract/job.ts';
import type { CompleteRequest, WorkerError, WorkerMessage } from '../../contract/worker.ts';
import { startExecuting, stopExecuting } from './executed.ts';
import { logLastProgress, showProgress } from './progress.ts';
import { detailsFit, outputsFit } from './size.ts';
import { counting, type Step, type Turn } from './transition.ts';
import type { Reply, Signal, StopReason } from './signals.ts';
import { type Attempt, currentAttempt, type JobState, workersReport } from './state.ts';
import { iso } from '../../lib/time.ts';

/** Longest text of an error or a log line that is kept, in characters. */
const MAX_MESSAGE_CHARS = 2_000;
/** Log messages of an attempt that are kept. */
export const MAX_LOG_MESSAGES = 1_000;
const MORE_LOG_MESSAGES = `The worker sent more than ${MAX_LOG_MESSAGES} log messages. Those after this one are not kept.`;

/** Decides a claim. It succeeds once per attempt; asked again with the same claim id, it gives the same answer. */
export function onClaim(turn: Turn, signal: Extract<Signal, { kind: 'claim' }>): Reply {
  const { state } = turn;
  const attempt = counting(turn, signal.attempt);
  const deadline = state.started_at === null ? (state.start_deadline ?? state.deadline) : state.deadline;
  const open = attempt !== undefined && state.cancel === null && turn.now < deadline && workersReport(state);
  if (isTerminal(state.status) || !open) {
    return 'over';
  }
  if (attempt.phase === 'claimed') {
    if (attempt.claim !== signal.claim) {
      return 'claimed_elsewhere';
    }
    if (!attempt.channel_open) {
      // It asks again because our answer did not reach it, so it cannot have opened its channel yet.
      attempt.lost_at = turn.now + turn.policy.channel_grace * 1000;
    }
    return 'granted';
  }
  attempt.phase = 'claimed';
  attempt.claim = signal.claim;
  attempt.worker = signal.worker;
  attempt.claimed_at = turn.now;
  attempt.held = null;
  attempt.due_at = null;
  attempt.settle_at = null;
  if (attempt.check_at !== null) {
    // The worker will be heard; RunPod is only asked in case it is not.
    attempt.check_at = turn.nextCheck(attempt);
  }
  attempt.lost_at = turn.now + turn.policy.channel_grace * 1000;
  state.started_at ??= turn.now;
  turn.move('running', 'inputs');
  return 'granted';
}

/** Takes the next message of the worker's channel; a gap or a repetition changes nothing. */
export function onWorkerMessage(turn: Turn, signal: Extract<Signal, { kind: 'worker_message' }>): Reply {
  const attempt = counting(turn, signal.attempt);
  const reply = orderOf(attempt, signal.claim, signal.message.seq);
  if (attempt !== undefined && reply === 'done') {
    attempt.acked = signal.message.seq;
    record(turn, attempt, signal.message);
  }
  return reply;
}

/** What becomes of a message with this number: `done` means that it is the next one. */
function orderOf(attempt: Attempt | undefined, claim: string, seq: number): Reply {
  if (attempt === undefined || attempt.claim !== claim) {
    return 'over';
  }
  return seq <= attempt.acked ? 'ignored' : seq > attempt.acked + 1 ? 'gap' : 'done';
}

/** Counts a message of too many as heard. Copies nothing but the attempt: there may be thousands in a second. */
export function passOver(state: JobState, number: number, claim: string, seq: number): Step {
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

function record(turn: Turn, attempt: Attempt, message: WorkerMessage): void {
  const { state } = turn;
  switch (message.type) {
    case 'unknown':
    case 'dropped':
      return;
    case 'stage':
      logLastProgress(turn);
      turn.move(state.status, laterStage(message.stage));
      if (state.stage === 'executing') {
        startExecuting(attempt, turn.now);
      } else {
        stopExecuting(attempt, turn.now);
      }
      return;
    case 'progress': {
      const { seq: _seq, type: _type, nodes, ...progress } = message;
      turn.passing = !showProgress(turn, progress, nodes ?? null);
      return;
    }
    case 'output': {
      const outputs = [...state.outputs.filter((known) => known.name !== message.output.name), message.output];
      if (!outputsFit(outputs)) {
        // The report says the same and ends the attempt with it.
        return;
      }
      state.outputs = outputs;
      turn.log({ event: 'output', data: message.output });
      return;
    }
    case 'log':
      logMessage(turn, attempt, message);
  }
}

/** Keeps a worker's log message, up to `MAX_LOG_MESSAGES` of an attempt; the first beyond them says so. */
function logMessage(turn: Turn, attempt: Attempt, { level, message }: Extract<WorkerMessage, { type: 'log' }>): void {
  attempt.log_messages += 1;
  const over = attempt.log_messages - MAX_LOG_MESSAGES;
  if (over > 1) {
    turn.passing = true;
    return;
  }
  const at = iso(turn.now);
  const text = message.slice(0, MAX_MESSAGE_CHARS);
  turn.log({
    event: 'log',
    data: over === 1 ? { level: 'warn', message: MORE_LOG_MESSAGES, at } : { level, message: text, at },
  });
}

/** A worker may only name stages of its own. */
export const laterStage = (stage: Stage): Stage =>
  stage === 'admission' || stage === 'capacity' || stage === 'cold_start' ? 'executing' : stage;

/** Takes the worker's terminal report. `over`: it no longer counts; `done`: it counts, now or already. */
export function onComplete(turn: Turn, report: CompleteRequest): Reply {
  const { state } = turn;
  const attempt = counting(turn, report.attempt);
  if (attempt === undefined || attempt.phase !== 'claimed') {
    const past = state.attempts[report.attempt - 1];
    return past?.claim === report.claim && past.outcome === report.outcome ? 'done' : 'over';
  }
  if (attempt.claim !== report.claim) {
    return 'claimed_elsewhere';
  }
  state.timings = report.timings;
  stopExecuting(attempt, turn.now);
  attempt.executed_ms = report.timings['execution_ms'] ?? attempt.executed_ms;
  attempt.worker = report.worker ?? attempt.worker;
  logLastProgress(turn);
  attempt.report = report.ran_with ?? null;
  switch (report.outcome) {
    case 'succeeded':
      succeed(turn, attempt, report.outputs);
      return 'done';
    case 'failed':
      turn.retryOrFail(attempt, 'failed', jobError(report.error, attempt.number), true);
      return 'done';
    case 'canceled':
      onStopped(turn, attempt);
      return 'done';
  }
}

/** The graph ran to its end: the job has these outputs and is over. */
export function succeed(turn: Turn, attempt: Attempt, outputs: Output[]): void {
  const { state } = turn;
  if (!keep(turn, outputs)) {
    turn.retryOrFail(attempt, 'failed', tooMuchToKeep(attempt.number), true);
    return;
  }
  if (state.progress !== null) {
    state.progress = { ...state.progress, value: 1, nodes_done: state.progress.nodes_total };
  }
  turn.finish('succeeded', null);
}

/** Takes outputs into the job and its log, those that are not there yet. False: they are more than can be kept. */
export function keep(turn: Turn, outputs: Output[]): boolean {
  const { state } = turn;
  if (!outputsFit(outputs)) {
    return false;
  }
  for (const output of outputs) {
    if (!state.outputs.some((known) => known.name === output.name && known.sha256 === output.sha256)) {
      turn.log({ event: 'output', data: output });
    }
  }
  state.outputs = outputs;
  return true;
}

/** The worker stopped before the graph ended: because the job was to stop, or because something stopped the run at RunPod. */
function onStopped(turn: Turn, attempt: Attempt): void {
  const { state } = turn;
  if (state.cancel !== null) {
    turn.close(attempt, 'canceled', null, true);
    turn.finish('canceled', null);
  } else if (turn.now >= state.deadline) {
    turn.close(attempt, 'canceled', null, true);
    turn.finish('failed', timeoutError(attempt.number));
  } else {
    const error: JobError = {
      code: 'provider_failed',
      message: 'The run was stopped at RunPod.',
      at: 'provider',
      retryable: true,
      attempt: attempt.number,
    };
    turn.retryOrFail(attempt, 'lost', error, true);
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
export function claimStands(turn: Pick<Turn, 'state'>, attempt: number, claim: string): Reply {
  const current = currentAttempt(turn.state);
  if (current === undefined || current.number !== attempt || current.phase !== 'claimed') {
    return 'over';
  }
  return current.claim === claim ? 'granted' : 'claimed_elsewhere';
}

/** Why the worker that has the job should stop now; null when it should not. For a worker that connects again. */
export function stopReason(state: JobState, now: number): StopReason | null {
  if (isTerminal(state.status)) {
    return null;
  }
  return state.cancel !== null ? 'client' : now >= state.deadline ? 'deadline' : null;
}
