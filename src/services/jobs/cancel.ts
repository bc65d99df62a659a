import type { JobView } from '../../contract/job.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/** Cancels a job. Idempotent: returns a job that is canceling or finished unchanged. */
export async function cancelJob(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<JobView, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const view = await withRpcRetry(() => context.env.JOB.getByName(id).cancel(caller.account));
  return view === null ? fail(notFound) : ok(view);
}
