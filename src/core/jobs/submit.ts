import { accountStub, jobStub } from '../../objects/stubs.ts';
import type { JobView } from '../../contract/job.ts';
import type { Admission, NewJob } from '../../contract/new-job.ts';
import type { Caller, Core } from '../context.ts';
import { invalidRequest, type CoreProblem } from '../problems.ts';
import { repeatable } from '../repeat.ts';
import { fail, ok, type Result } from '../result.ts';
import { checkRequest } from './check.ts';
import { storeInline } from './inline.ts';
import { fetchRemote } from './inputs.ts';

/** An admission outlives the job's deadline by this, then it lapses by itself: a slot must never be lost to a crash. */
const ADMISSION_SLACK_MS = 120_000;

/**
 * Takes a job: checks everything, asks the account for admission, stores what came inline, and hands the job to its object.
 * The job exists, durably, when this returns it. Nothing is stored or counted for a request that has a fault.
 */
export async function submitJob(core: Core, caller: Caller, body: unknown): Promise<Result<JobView, CoreProblem>> {
  const checked = await checkRequest(core, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { shaped, inline, remote, endpoint, metadata, options, finishWithinS } = checked.value;
  const fetched = await fetchRemote(core, caller, remote);
  const [fault, ...faults] = fetched.faults;
  if (fault !== undefined) {
    return fail(invalidRequest([fault, ...faults]));
  }
  const inputs = [...checked.value.inputs, ...fetched.inputs];
  const id = core.newId();
  const created_at = core.clock();
  const deadline = created_at + Math.round(finishWithinS * 1000);

  const expires_at = deadline + core.config.policy.deadline_grace * 1000 + ADMISSION_SLACK_MS;
  const admission = await repeatable(() => accountStub(core.env, caller.account).admit({ job: id, expires_at }));
  if (!admission.admitted) {
    return fail(refused(admission));
  }
  const job: NewJob = {
    id,
    account: caller.account,
    endpoint,
    workflow: shaped.text,
    inputs,
    options,
    metadata,
    resolved: shaped.resolved,
    created_at,
    deadline,
  };
  try {
    await storeInline(core, caller, inline);
    return ok(await repeatable(() => jobStub(core.env, id).create(job)));
  } catch (error) {
    // If the job was made after all, it releases its own admission at its end; releasing twice does no harm.
    await repeatable(() => accountStub(core.env, caller.account).release(id)).catch(() => {});
    throw error;
  }
}

function refused(admission: Admission & { admitted: false }): CoreProblem {
  const { code, limit, window_s, retry_after_s } = admission;
  const detail =
    code === 'too_many_jobs'
      ? `${limit} jobs may be unfinished at a time`
      : `${limit} jobs may be submitted in ${window_s ?? 60} seconds`;
  return { code, detail, retryAfterS: Math.max(1, Math.ceil(retry_after_s)) };
}
