import { jobStub } from '../../objects/stubs.ts';
import type { JobView } from '../../contract/job.ts';
import { isUuidV7 } from '../../providers/ids.ts';
import type { Caller, Core } from '../context.ts';
import { notFound, type CoreProblem } from '../problems.ts';
import { repeatable } from '../repeat.ts';
import { fail, ok, type Result } from '../result.ts';

/** Asks a job to stop. Idempotent: a job that is being canceled or is over is answered as it is. */
export async function cancelJob(core: Core, caller: Caller, id: string): Promise<Result<JobView, CoreProblem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const view = await repeatable(() => jobStub(core.env, id).cancel(caller.account));
  return view === null ? fail(notFound) : ok(view);
}
