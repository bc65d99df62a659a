import { accountStub, jobStub } from '../../durable-objects/shared/stubs.ts';
import type { JobView } from '../../contract/job.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, Core } from '../context.ts';
import { notFound, type CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * The job as its object knows it now. The id's form is checked first: addressing an object creates it, and made-up names must
 * create nothing.
 */
export async function getJob(core: Core, caller: Caller, id: string): Promise<Result<JobView, CoreProblem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const view = await repeatable(() => jobStub(core.env, id).view(caller.account));
  return view === null ? fail(notFound) : ok({ ...view, queue_position: await queuePosition(core, view) });
}

/** Asked only of the account, and only while the job is in its line. Null also when the account does not answer: the job is worth more. */
async function queuePosition(core: Core, { id, account, stage }: JobView): Promise<number | null> {
  if (stage !== 'admission') {
    return null;
  }
  try {
    return await accountStub(core.env, account).queuePosition(id);
  } catch {
    return null;
  }
}
