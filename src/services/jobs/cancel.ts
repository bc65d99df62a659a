import { jobStub } from '../../durable-objects/shared/stubs.ts';
import type { JobView } from '../../contract/job.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, Core } from '../context.ts';
import { notFound, type CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/** Asks a job to stop. Idempotent: a job that is being canceled or is over is answered as it is. */
export async function cancelJob(core: Core, caller: Caller, id: string): Promise<Result<JobView, CoreProblem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const view = await repeatable(() => jobStub(core.env, id).cancel(caller.account));
  return view === null ? fail(notFound) : ok(view);
}
