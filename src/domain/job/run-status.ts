import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobError } from '../../contract/job.ts';
import { counting, SETTLE_MS, type Turn } from './transition.ts';
import type { Reply, Signal } from './signals.ts';
import { onProviderReport } from './provider-reports.ts';
import { workersReport, type Attempt } from './state.ts';
import { onUnclaimed } from './waiting-run.ts';

/**
 * What RunPod says only confirms or repairs. A run that is over there without a report gets a short time for the report
 * to arrive, then counts as lost, even with its channel open: a worker reports before it lets go of the run. Only a run that
 * RunPod does not know at all says nothing against a worker that is heard.
 */
export function onRunStatus(turn: Turn, signal: Extract<Signal, { kind: 'run_status' }>): Reply {
  const attempt = counting(turn, signal.attempt);
  if (attempt === undefined || attempt.run_id === null) {
    return 'ignored';
  }
  if (!workersReport(turn.state)) {
    return onProviderReport(turn, attempt, signal);
  }
  attempt.check_at = turn.nextCheck(attempt);
  const { state } = turn;
  switch (signal.status) {
    case 'queued':
    case 'running':
      if (attempt.phase !== 'claimed') {
        // RunPod has it after all: a 404 before this was a replica that did not know the run yet.
        attempt.settle_at = null;
        onUnclaimed(turn, attempt, signal.status, signal.line ?? null);
      }
      return 'done';
    case 'unreachable':
      return 'done';
    case 'missing':
      // A 404 also comes for a run whose TTL passed while it ran: a claimed worker's channel is the better witness.
      if (attempt.phase !== 'claimed') {
        settle(turn, attempt, 'provider_failed', 'RunPod no longer knows the run.', true);
      }
      return 'done';
    case 'canceled':
      if (attempt.phase === 'claimed') {
        settle(turn, attempt, 'provider_failed', 'The run was canceled at RunPod.', false);
      } else {
        turn.close(attempt, 'canceled', null, true);
        turn.finish('canceled', null);
      }
      return 'done';
    case 'timed_out':
      settle(
        turn,
        attempt,
        state.started_at === null ? 'no_capacity' : 'timeout',
        'RunPod ended the run: its time was up.',
        false,
      );
      return 'done';
    case 'failed':
    case 'completed':
      settle(turn, attempt, 'worker_lost', 'The worker ended without a report.', true);
      return 'done';
  }
}

function settle(turn: Turn, attempt: Attempt, code: JobErrorCode, message: string, retryable: boolean): void {
  if (attempt.settle_at !== null) {
    return;
  }
  const error: JobError = { code, message, at: 'provider', retryable, attempt: attempt.number };
  attempt.settle_at = turn.now + SETTLE_MS;
  attempt.settle_error = error;
}
