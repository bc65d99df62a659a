import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobError } from '../../contract/job.ts';
import { attemptIfCurrent, SETTLE_MS, type Transition } from './transition.ts';
import type { Reply, Signal } from './signals.ts';
import { onProviderReport } from './provider-reports.ts';
import { workersReport, type Attempt } from './state.ts';
import { onUnclaimed } from './waiting-run.ts';

/**
 * Handles RunPod's status of a run that a worker may claim. It only confirms or repairs. When the run has finished
 * there without a report, the report may arrive within `SETTLE_MS`; then the attempt counts as lost, even with an open
 * channel, because a worker reports before it releases the run. A status of "missing" does not count against a
 * connected worker.
 */
export function onRunStatus(transition: Transition, signal: Extract<Signal, { kind: 'run_status' }>): Reply {
  const attempt = attemptIfCurrent(transition, signal.attempt);
  if (attempt === undefined || attempt.run_id === null) {
    return 'ignored';
  }
  if (!workersReport(transition.state)) {
    return onProviderReport(transition, attempt, signal);
  }
  attempt.check_at = transition.nextCheck(attempt);
  const { state } = transition;
  switch (signal.status) {
    case 'queued':
    case 'running':
      if (attempt.phase !== 'claimed') {
        // RunPod has the run after all: an earlier 404 came from a replica that did not know it yet.
        attempt.settle_at = null;
        onUnclaimed(transition, attempt, signal.status, signal.waits_for ?? null);
      }
      return 'done';
    case 'unreachable':
      return 'done';
    case 'missing':
      // RunPod also responds with 404 when the TTL of a run has passed while it runs, so an open channel counts more.
      if (attempt.phase !== 'claimed') {
        settle(transition, attempt, 'provider_failed', 'RunPod no longer knows the run.', true);
      }
      return 'done';
    case 'canceled':
      if (attempt.phase === 'claimed') {
        settle(transition, attempt, 'provider_failed', 'The run was canceled at RunPod.', false);
      } else {
        transition.close(attempt, 'canceled', null, true);
        transition.finish('canceled', null);
      }
      return 'done';
    case 'timed_out':
      settle(
        transition,
        attempt,
        state.started_at === null ? 'no_capacity' : 'timeout',
        'RunPod ended the run: its time was up.',
        false,
      );
      return 'done';
    case 'failed':
    case 'completed':
      settle(transition, attempt, 'worker_lost', 'The worker ended without a report.', true);
      return 'done';
  }
}

function settle(
  transition: Transition,
  attempt: Attempt,
  code: JobErrorCode,
  message: string,
  retryable: boolean,
): void {
  if (attempt.settle_at !== null) {
    return;
  }
  const error: JobError = { code, message, at: 'provider', retryable, attempt: attempt.number };
  attempt.settle_at = transition.now + SETTLE_MS;
  attempt.settle_error = error;
}
