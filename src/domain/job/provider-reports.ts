import type { JobError } from '../../contract/job.ts';
import type { RunNews, RunProgress } from '../../contract/run.ts';
import type { Reply, Signal } from './signals.ts';
import type { Attempt } from './state.ts';
import { attemptIfCurrent, SETTLE_MS, type Transition } from './transition.ts';
import { noWorkers, onUnclaimed } from './waiting-run.ts';
import { showProgress } from './progress.ts';
import { jobError, addOutputs, laterStage, succeed } from './worker-messages.ts';
import { iso } from '../../lib/time.ts';

/**
 * Handles runs that no worker claims (docs/decisions/0036). The provider's status is the only information about them,
 * so it decides. The provider moves a run's results into R2 before the job ends.
 */

/**
 * The delay of the first poll, and of the first one after a change. A warm worker makes a small image in about a
 * second.
 */
export const FIRST_POLL_MS = 1_000;
/**
 * Each poll without a change extends the delay by half, up to this. 1,000 runs of one endpoint then cause 100 calls a
 * second, half of RunPod's limit (reference/runpod.md 2.4).
 */
const MAX_POLL_INTERVAL_MS = 10_000;
/**
 * The time limit for moving results into R2, including retries. RunPod keeps them for 30 min (reference/runpod.md 2.5).
 */
const MOVE_TIMEOUT_MS = 300_000;

/** Handles the provider's status of a run. `news` is present for every status except `missing` and `unreachable`. */
export function onProviderReport(
  transition: Transition,
  attempt: Attempt,
  signal: Extract<Signal, { kind: 'run_status' }>,
): Reply {
  const { state } = transition;
  attempt.looks += 1;
  switch (signal.status) {
    case 'queued':
      markKnown(attempt);
      if (attempt.phase !== 'claimed') {
        onUnclaimed(transition, attempt, 'queued', signal.waits_for ?? null);
      }
      break;
    case 'running':
      markKnown(attempt);
      markStarted(transition, attempt, signal.news);
      attempt.executed_ms = Math.max(0, transition.now - (attempt.claimed_at ?? transition.now));
      if (signal.news?.progress && state.cancel === null) {
        show(transition, signal.news.progress);
      }
      break;
    case 'completed':
    case 'failed':
      markFinished(transition, attempt, signal.news);
      break;
    case 'canceled':
      onCanceled(transition, attempt);
      break;
    case 'timed_out':
      transition.retryOrFail(attempt, 'failed', timedOut(attempt, state.started_at !== null), true);
      break;
    case 'missing':
      if (attempt.moving) {
        transition.retryOrFail(attempt, 'lost', runForgottenError(attempt), true);
        break;
      }
      // A replica may not know the run yet, or RunPod may no longer keep it.
      attempt.settle_at ??= transition.now + SETTLE_MS;
      attempt.settle_error ??= runForgottenError(attempt);
      break;
    case 'unreachable':
      break;
  }
  if (attempt.phase !== 'finished') {
    attempt.check_at = attempt.moving ? null : nextLook(transition, attempt);
  }
  return 'done';
}

/** Handles the end of moving results: they are in R2, or the run has none. */
export function onRunResult(
  transition: Transition,
  { attempt: number, result }: Extract<Signal, { kind: 'run_result' }>,
): Reply {
  const attempt = attemptIfCurrent(transition, number);
  if (attempt === undefined || !attempt.moving) {
    return 'ignored';
  }
  for (const message of result.warnings) {
    transition.log({ event: 'log', data: { level: 'warn', message, at: iso(transition.now) } });
  }
  transition.state.timings = {
    ...(attempt.execution_ms === null ? {} : { execution_ms: attempt.execution_ms }),
    upload_ms: result.moved_ms,
  };
  if (result.error === null) {
    succeed(transition, attempt, result.outputs);
  } else {
    if (result.error.ran === false) {
      attempt.executed_ms = 0;
    }
    addOutputs(transition, result.outputs);
    transition.retryOrFail(attempt, 'failed', jobError(result.error, number), true);
  }
  return 'done';
}

function nextLook(transition: Transition, { looks }: Attempt): number {
  const { state, now } = transition;
  const at = now + Math.min(FIRST_POLL_MS * 1.5 ** looks, MAX_POLL_INTERVAL_MS, transition.policy.poll_interval * 1000);
  // A job that has started must not expire because it was not polled.
  const last = state.started_at === null && state.start_deadline !== null ? state.start_deadline - FIRST_POLL_MS : now;
  return now < last ? Math.min(at, last) : at;
}

/** RunPod knows the run, and it has not finished. This overrides earlier contrary statuses. */
function markKnown(attempt: Attempt): void {
  attempt.settle_at = null;
  attempt.settle_error = null;
  attempt.moving = false;
}

/** Records that a worker runs it, from now or from the time that RunPod reports. */
function markStarted(transition: Transition, attempt: Attempt, news: RunNews | undefined): void {
  const { state } = transition;
  if (attempt.phase === 'claimed') {
    return;
  }
  const { delay_ms = null, execution_ms = null } = news ?? {};
  const said =
    delay_ms !== null && attempt.accepted_at !== null
      ? attempt.accepted_at + delay_ms
      : transition.now - (execution_ms ?? 0);
  const at = Math.min(transition.now, Math.max(attempt.created_at, said));
  attempt.phase = 'claimed';
  attempt.looks = 0;
  attempt.claimed_at = at;
  attempt.worker = news?.worker ?? null;
  state.started_at ??= at;
  transition.move('running', 'executing');
}

function show(transition: Transition, { value, stage, ...rest }: RunProgress): void {
  const { state } = transition;
  if (stage !== null) {
    transition.move('running', laterStage(stage));
  }
  const shown = { value: Math.max(value ?? 0, state.progress?.value ?? 0), ...rest };
  const says = value !== null || rest.step !== null || rest.current_node !== null;
  if (says && JSON.stringify(shown) !== JSON.stringify(state.progress)) {
    showProgress(transition, shown, null);
  }
}

/** The worker has finished. Its result is fetched once. */
function markFinished(transition: Transition, attempt: Attempt, news: RunNews | undefined): void {
  const { state } = transition;
  markStarted(transition, attempt, news);
  if (attempt.moving || attempt.run_id === null) {
    return;
  }
  attempt.moving = true;
  attempt.execution_ms = news?.execution_ms ?? null;
  attempt.executed_ms = attempt.execution_ms ?? attempt.executed_ms;
  attempt.settle_at = transition.now + MOVE_TIMEOUT_MS;
  attempt.settle_error = notMoved(attempt);
  transition.move(state.cancel === null ? 'running' : 'canceling', 'uploading');
  transition.do({ kind: 'fetch_result', attempt: attempt.number, run_id: attempt.run_id });
}

/**
 * The run was canceled by the gateway or at RunPod. An operator who purges the queue before a run starts cancels the
 * job too.
 */
function onCanceled(transition: Transition, attempt: Attempt): void {
  if (transition.state.cancel === null && attempt.leaving) {
    transition.retryOrFail(attempt, 'superseded', noWorkers(attempt.number), true);
    return;
  }
  if (transition.state.cancel === null && attempt.phase === 'claimed') {
    transition.retryOrFail(attempt, 'lost', canceledThere(attempt), true);
    return;
  }
  transition.close(attempt, 'canceled', null, true);
  transition.finish('canceled', null);
}

const timedOut = (attempt: Attempt, started: boolean): JobError => ({
  code: started ? 'timeout' : 'no_capacity',
  message: 'RunPod ended the run: its time was up.',
  at: 'provider',
  retryable: false,
  attempt: attempt.number,
});

/**
 * The error of a run that RunPod no longer knows. After a worker has started it, it is not retried: only its result may
 * be lost.
 */
const runForgottenError = (attempt: Attempt): JobError => ({
  code: 'worker_lost',
  message: 'RunPod no longer knows the run, nor what came of it.',
  at: 'worker',
  retryable: attempt.phase !== 'claimed',
  attempt: attempt.number,
});

const canceledThere = (attempt: Attempt): JobError => ({
  code: 'provider_failed',
  message: 'The run was canceled at RunPod.',
  at: 'provider',
  retryable: false,
  attempt: attempt.number,
});

const notMoved = (attempt: Attempt): JobError => ({
  code: 'upload_failed',
  message: 'The results of the run could not be stored in time.',
  at: 'gateway',
  retryable: true,
  attempt: attempt.number,
});
