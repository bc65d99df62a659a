import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Erases a finished job: its graph, log, outputs and list entry. Its inputs are assets of the account, which other jobs
 * may use; they expire separately. An unfinished job must be canceled first, so that no job runs without a record.
 */
export async function eraseJob(context: ServiceContext, caller: Caller, id: string): Promise<Result<null, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const erased = await withRpcRetry(() => context.env.JOB.getByName(id).erase(caller.account));
  switch (erased) {
    case 'erased':
      return ok(null);
    case 'not_found':
      return fail(notFound);
    case 'not_finished':
      return fail({ code: 'job_not_finished', detail: 'The job has not finished. Cancel it, then erase it.' });
  }
}
