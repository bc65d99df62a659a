import type { JobError } from '../../contract/job.ts';
import type { RunNews, RunProgress } from '../../contract/run.ts';
import type { Reply, Signal } from './signals.ts';
import type { Attempt } from './state.ts';
import { counting, SETTLE_MS, type Turn } from './transition.ts';
import { noWorkers, onUnclaimed } from './waiting-run.ts';
import { showProgress } from './progress.ts';
import { jobError, keep, laterStage, succeed } from './worker-messages.ts';
import { iso } from '../../lib/time.ts';

/**
 * Runs that no worker claims (docs/decisions/0036). The provider's status is all there is to hear of them, so here it decides. What a
 * run came to is the provider's to bring into R2 before the job ends.
 */

/** The first look at a run, and the first after anything changed: soon, for a warm worker makes a small picture in about a second. */
export const FIRST_LOOK_MS = 1_000;
/** Each look without news makes the wait longer by half, up to this. 1,000 runs of one endpoint at this pace are 100 calls a second, half of RunPod's limit (reference/runpod.md 2.4). */
const LAST_LOOK_MS = 10_000;
/** How long results may take into R2, tries after a failure included; RunPod keeps them for 30 min (reference/runpod.md 2.5). */
const MOVE_MS = 300_000;

/** What the provider says of a run. `news` comes with every word but `missing` and `unreachable`. */
export function onProviderReport(turn: Turn, attempt: Attempt, signal: Extract<Signal, { kind: 'run_status' }>): Reply {
  const { state } = turn;
  attempt.looks += 1;
  switch (signal.status) {
    case 'queued':
      known(attempt);
      if (attempt.phase !== 'claimed') {
        onUnclaimed(turn, attempt, 'queued', signal.line ?? null);
      }
      break;
    case 'running':
      known(attempt);
      begun(turn, attempt, signal.news);
      attempt.executed_ms = Math.max(0, turn.now - (attempt.claimed_at ?? turn.now));
      if (signal.news?.progress && state.cancel === null) {
        show(turn, signal.news.progress);
      }
      break;
    case 'completed':
    case 'failed':
      over(turn, attempt, signal.news);
      break;
    case 'canceled':
      onCanceled(turn, attempt);
      break;
    case 'timed_out':
      turn.retryOrFail(attempt, 'failed', timedOut(attempt, state.started_at !== null), true);
      break;
    case 'missing':
      if (attempt.moving) {
        turn.retryOrFail(attempt, 'lost', forgotten(attempt), true);
        break;
      }
      // It may be a replica that does not know the run yet, or the end of what RunPod keeps.
      attempt.settle_at ??= turn.now + SETTLE_MS;
      attempt.settle_error ??= forgotten(attempt);
      break;
    case 'unreachable':
      break;
  }
  if (attempt.phase !== 'over') {
    attempt.check_at = attempt.moving ? null : nextLook(turn, attempt);
  }
  return 'done';
}

/** The results of a run are in R2, or it has none. */
export function onRunResult(turn: Turn, { attempt: number, result }: Extract<Signal, { kind: 'run_result' }>): Reply {
  const attempt = counting(turn, number);
  if (attempt === undefined || !attempt.moving) {
    return 'ignored';
  }
  for (const message of result.warnings) {
    turn.log({ event: 'log', data: { level: 'warn', message, at: iso(turn.now) } });
  }
  turn.state.timings = {
    ...(attempt.execution_ms === null ? {} : { execution_ms: attempt.execution_ms }),
    upload_ms: result.moved_ms,
  };
  if (result.error === null) {
    succeed(turn, attempt, result.outputs);
  } else {
    if (result.error.ran === false) {
      attempt.executed_ms = 0;
    }
    keep(turn, result.outputs);
    turn.retryOrFail(attempt, 'failed', jobError(result.error, number), true);
  }
  return 'done';
}

function nextLook(turn: Turn, { looks }: Attempt): number {
  const { state, now } = turn;
  const at = now + Math.min(FIRST_LOOK_MS * 1.5 ** looks, LAST_LOOK_MS, turn.policy.poll_interval * 1000);
  // A job that has begun must not expire because nobody looked.
  const last = state.started_at === null && state.start_deadline !== null ? state.start_deadline - FIRST_LOOK_MS : now;
  return now < last ? Math.min(at, last) : at;
}

/** RunPod knows the run, and it is not over: whatever it said to the contrary before is void. */
function known(attempt: Attempt): void {
  attempt.settle_at = null;
  attempt.settle_error = null;
  attempt.moving = false;
}

/** A worker has the run: since now, or since RunPod says that it has. */
function begun(turn: Turn, attempt: Attempt, news: RunNews | undefined): void {
  const { state } = turn;
  if (attempt.phase === 'claimed') {
    return;
  }
  const { delay_ms = null, execution_ms = null } = news ?? {};
  const said =
    delay_ms !== null && attempt.accepted_at !== null ? attempt.accepted_at + delay_ms : turn.now - (execution_ms ?? 0);
  const at = Math.min(turn.now, Math.max(attempt.created_at, said));
  attempt.phase = 'claimed';
  attempt.looks = 0;
  attempt.claimed_at = at;
  attempt.worker = news?.worker ?? null;
  state.started_at ??= at;
  turn.move('running', 'executing');
}

function show(turn: Turn, { value, stage, ...rest }: RunProgress): void {
  const { state } = turn;
  if (stage !== null) {
    turn.move('running', laterStage(stage));
  }
  const shown = { value: Math.max(value ?? 0, state.progress?.value ?? 0), ...rest };
  const says = value !== null || rest.step !== null || rest.current_node !== null;
  if (says && JSON.stringify(shown) !== JSON.stringify(state.progress)) {
    showProgress(turn, shown, null);
  }
}

/** The worker is done. What it came to is asked for once. */
function over(turn: Turn, attempt: Attempt, news: RunNews | undefined): void {
  const { state } = turn;
  begun(turn, attempt, news);
  if (attempt.moving || attempt.run_id === null) {
    return;
  }
  attempt.moving = true;
  attempt.execution_ms = news?.execution_ms ?? null;
  attempt.executed_ms = attempt.execution_ms ?? attempt.executed_ms;
  attempt.settle_at = turn.now + MOVE_MS;
  attempt.settle_error = notMoved(attempt);
  turn.move(state.cancel === null ? 'running' : 'canceling', 'uploading');
  turn.do({ kind: 'fetch_result', attempt: attempt.number, run_id: attempt.run_id });
}

/** By us, or by somebody at RunPod: an operator who clears the queue before anything ran has canceled the job with it. */
function onCanceled(turn: Turn, attempt: Attempt): void {
  if (turn.state.cancel === null && attempt.leaving) {
    turn.retryOrFail(attempt, 'superseded', noWorkers(attempt.number), true);
    return;
  }
  if (turn.state.cancel === null && attempt.phase === 'claimed') {
    turn.retryOrFail(attempt, 'lost', canceledThere(attempt), true);
    return;
  }
  turn.close(attempt, 'canceled', null, true);
  turn.finish('canceled', null);
}

const timedOut = (attempt: Attempt, started: boolean): JobError => ({
  code: started ? 'timeout' : 'no_capacity',
  message: 'RunPod ended the run: its time was up.',
  at: 'provider',
  retryable: false,
  attempt: attempt.number,
});

/** Not tried again once a worker had it: it may have done its work, and its result is what is lost. */
const forgotten = (attempt: Attempt): JobError => ({
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
