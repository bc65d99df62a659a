import { jobStub } from '../../objects/stubs.ts';
import type { Status } from '../../contract/job.ts';
import type { CompleteRequest } from '../../contract/worker.ts';
import type { Core } from '../context.ts';
import { fail, ok, type Result } from '../result.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/** Takes a worker's terminal report. Repeating it gives the same answer. */
export async function complete(
  core: Core,
  job: string,
  report: CompleteRequest,
): Promise<Result<{ status: Status }, WorkerRefusal>> {
  const answer = await jobStub(core.env, job).complete(report);
  if ('refused' in answer) {
    return fail(refusal(answer.refused));
  }
  if ('missing' in answer) {
    return fail({ code: 'output_missing', missing: answer.missing });
  }
  return ok({ status: answer.stored });
}
