import type { JobError } from '../../contract/job.ts';
import type { WaitsFor } from './signals.ts';
import { workersReport, type Attempt } from './state.ts';
import { MAX_SENDS, type Turn } from './transition.ts';

/** A run that no worker has claimed: says what it waits for, and moves on where it would wait in vain. */
export function onUnclaimed(turn: Turn, attempt: Attempt, status: 'queued' | 'running', line: WaitsFor | null): void {
  const starved = status === 'queued' && line?.none === true;
  attempt.held = starved ? noWorkers(attempt.number) : null;
  if (starved && line.elsewhere && turn.state.attempts.length < MAX_SENDS) {
    if (workersReport(turn.state)) {
      turn.retryOrFail(attempt, 'superseded', noWorkers(attempt.number), false);
      return;
    }
    // Nothing would fence this run off: it goes elsewhere only once RunPod has canceled it (`provider-reports.ts`).
    if (!attempt.leaving && attempt.run_id !== null) {
      attempt.leaving = true;
      turn.do({ kind: 'cancel_run', attempt: attempt.number, run_id: attempt.run_id });
    }
  }
  // Taken but not claimed, it is with a worker that still starts.
  turn.move('queued', status === 'running' ? 'cold_start' : (line?.stage ?? 'capacity'));
}

export const noWorkers = (attempt: number): JobError => ({
  code: 'no_capacity',
  message: 'The endpoint has no workers.',
  at: 'provider',
  retryable: true,
  attempt,
});
