import type { Status } from '../../contract/job.ts';
import type { CompleteRequest, WorkerError } from '../../contract/worker.ts';
import type { ServiceContext } from '../context.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/**
 * Accepts a worker's final report. Repeated calls get the same response. A success with too many outputs counts as a
 * failure.
 */
export async function complete(
  context: ServiceContext,
  job: string,
  report: CompleteRequest,
): Promise<Result<{ status: Status }, WorkerRefusal>> {
  const maxOutputs = context.config.limits.max_outputs;
  const tooMany = report.outcome === 'succeeded' && report.outputs.length > maxOutputs;
  const answer = await context.env.JOB.getByName(job).complete(
    tooMany ? { ...report, outcome: 'failed', outputs: [], error: tooManyOutputs(maxOutputs) } : report,
  );
  if ('refused' in answer) {
    return fail(refusal(answer.refused));
  }
  if ('missing' in answer) {
    return fail({ code: 'output_missing', missing: answer.missing });
  }
  return ok({ status: answer.stored });
}

const tooManyOutputs = (maxOutputs: number): WorkerError => ({
  code: 'output_too_large',
  message: `The job has more than ${maxOutputs} outputs.`,
  at: 'workflow',
  retryable: false,
});
