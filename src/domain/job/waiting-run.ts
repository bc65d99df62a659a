import type { JobError } from '../../contract/job.ts';
import type { WaitsFor } from './signals.ts';
import { workersReport, type Attempt } from './state.ts';
import { MAX_ATTEMPTS, type Transition } from './transition.ts';

/**
 * Handles a run that no worker has claimed: shows what it waits for, and moves to another endpoint when it would wait
 * in vain.
 */
export function onUnclaimed(
  transition: Transition,
  attempt: Attempt,
  status: 'queued' | 'running',
  line: WaitsFor | null,
): void {
  const starved = status === 'queued' && line?.no_workers === true;
  attempt.held = starved ? noWorkers(attempt.number) : null;
  if (starved && line.elsewhere && transition.state.attempts.length < MAX_ATTEMPTS) {
    if (workersReport(transition.state)) {
      transition.retryOrFail(attempt, 'superseded', noWorkers(attempt.number), false);
      return;
    }
    // Nothing would fence this run off, so it moves only after RunPod has canceled it (`provider-reports.ts`).
    if (!attempt.leaving && attempt.run_id !== null) {
      attempt.leaving = true;
      transition.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
    }
  }
  // An accepted run without a claim is on a worker that is still starting.
  transition.move('queued', status === 'running' ? 'cold_start' : (line?.stage ?? 'capacity'));
}

export const noWorkers = (attempt: number): JobError => ({
  code: 'no_capacity',
  message: 'The endpoint has no workers.',
  at: 'provider',
  retryable: true,
  attempt,
});
