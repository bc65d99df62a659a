import type { JobView, Status, TerminalStatus } from '../../contract/job.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { waitForJob } from './wait.ts';

/** The result of a job. `ready`: it succeeded and has its outputs. `pending`: it has not finished. */
export type JobResult =
  | { kind: 'ready'; job: JobView }
  | { kind: 'pending'; job: JobView & { status: Exclude<Status, TerminalStatus> } };

/**
 * Returns the result of a job, after waiting up to `seconds` for its end. A job without a result is a problem with the
 * job's own error, so that a client cannot mistake a failure for an empty result.
 */
export async function jobResult(
  context: ServiceContext,
  caller: Caller,
  id: string,
  seconds: number,
  signal: AbortSignal | null = null,
): Promise<Result<JobResult, Problem>> {
  const found = await waitForJob(context, caller, id, { until: 'finished' }, seconds, signal);
  if (!found.ok) {
    return found;
  }
  const job = found.value;
  const about = { job: { id: job.id, status: job.status, error: job.error } };
  switch (job.status) {
    case 'queued':
    case 'running':
    case 'canceling':
      return ok({ kind: 'pending', job: { ...job, status: job.status } });
    case 'succeeded':
      return ok({ kind: 'ready', job });
    case 'failed':
      return fail({ code: 'job_failed', detail: job.error?.message ?? 'The job failed.', ...about });
    case 'canceled':
      return fail({ code: 'job_canceled', detail: 'The job was canceled before it had a result.', ...about });
    case 'expired':
      return fail({
        code: 'job_expired',
        detail: 'The job expired because no worker could start it in time.',
        ...about,
      });
  }
}
