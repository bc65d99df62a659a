import type { JobView } from '../../contract/job.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Returns the current job from its object. Checks the form of the id first, because addressing an object creates it,
 * and invalid ids must not create objects.
 */
export async function getJob(context: ServiceContext, caller: Caller, id: string): Promise<Result<JobView, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const view = await withRpcRetry(() => context.env.JOB.getByName(id).view(caller.account));
  return view === null ? fail(notFound) : ok({ ...view, queue_position: await queuePosition(context, view) });
}

/**
 * The job's position in the account's queue. Null when the job is not queued there, or when the Account object does not
 * answer.
 */
async function queuePosition(context: ServiceContext, { id, account, stage }: JobView): Promise<number | null> {
  if (stage !== 'admission') {
    return null;
  }
  try {
    return await context.env.ACCOUNT.getByName(account).queuePosition(id);
  } catch {
    return null;
  }
}
