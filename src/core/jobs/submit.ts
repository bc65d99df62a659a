import { VIOLATED, type Admission, type AdmitRequest, type Idempotency, type Quota } from '../../contract/admission.ts';
import type { JobView } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import { accountStub, jobStub } from '../../objects/stubs.ts';
import { remember } from '../account/quota.ts';
import type { Caller, Core } from '../context.ts';
import { lapsesAt } from '../job/admission.ts';
import { invalidRequest, type CoreProblem } from '../problems.ts';
import { repeatable } from '../repeat.ts';
import { fail, ok, type Result } from '../result.ts';
import { checkRequest, type Checked } from './check.ts';
import { storeInline } from './inline.ts';
import { fetchRemote } from './inputs.ts';

/** A job that was taken. `replayed`: it was taken earlier, with the same idempotency key, and this is what was answered then. */
export type Submitted = { job: JobView; replayed: boolean; quota: Quota | null };

/** When a client whose first request is still being worked on had better ask again. */
const IN_FLIGHT_AGAIN_S = 1;

/**
 * Takes a job: checks everything, asks the account for admission, stores what came inline, and hands the job to its object.
 * The job exists, durably, when this returns it. Nothing is stored or counted for a request that has a fault. Two calls of objects
 * on this way: the account's, and the job's.
 */
export async function submitJob(
  core: Core,
  caller: Caller,
  body: unknown,
  idempotency: Idempotency | null = null,
): Promise<Result<Submitted, CoreProblem>> {
  const ready = await prepare(core, caller, body);
  if (!ready.ok) {
    return (idempotency === null ? null : await recalled(core, caller, idempotency)) ?? ready;
  }
  const { endpoint, finishWithinS, startWithinS, inline, priority } = ready.value;
  const id = core.newId();
  const created_at = core.clock();
  const finish_ms = Math.round(finishWithinS * 1000);
  const price_per_second = core.config.endpoints[endpoint]?.price?.per_second ?? null;
  const account = accountStub(core.env, caller.account);
  const request: AdmitRequest = {
    job: id,
    key: caller.key,
    priority,
    expires_at: lapsesAt(created_at + finish_ms, core.config.policy),
    reserve: {
      gpu_ms: finish_ms,
      micro_usd: price_per_second === null ? null : Math.ceil(price_per_second * finish_ms * 1000),
    },
    idempotency,
  };
  const admission = await repeatable(() => account.admit(request));
  remember(caller.account, admission.quota, core.clock());
  if (admission.kind !== 'admitted') {
    return admission.kind === 'known' ? known(core, caller, admission) : fail(refused(admission));
  }
  const { job: admitted, waits, queue_position, quota } = admission;
  const { shaped, inputs, metadata, options } = ready.value;
  const job: NewJob = {
    id: admitted,
    account: caller.account,
    key: caller.key,
    endpoint,
    workflow: shaped.text,
    inputs,
    options,
    metadata,
    resolved: shaped.resolved,
    created_at,
    deadline: created_at + finish_ms,
    start_deadline: startWithinS === null ? null : created_at + Math.round(startWithinS * 1000),
    price_per_second,
    fallbacks: [],
    waits,
    queue_position,
  };
  let mayExist = admitted !== id;
  try {
    if (mayExist) {
      // An earlier request with this key broke off before or after it had made its job.
      const first = await repeatable(() => jobStub(core.env, admitted).first(caller.account));
      if (first !== null) {
        return ok({ job: first, replayed: true, quota });
      }
    }
    await storeInline(core, caller, inline);
    mayExist = true;
    return ok({ job: await repeatable(() => jobStub(core.env, admitted).create(job)), replayed: false, quota });
  } catch (error) {
    await repeatable(() => account.abandon(admitted, mayExist)).catch(() => {});
    throw error;
  }
}

/** Everything before admission. */
async function prepare(core: Core, caller: Caller, body: unknown): Promise<Result<Checked, CoreProblem>> {
  const checked = await checkRequest(core, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const fetched = await fetchRemote(core, caller, checked.value.remote);
  const [fault, ...faults] = fetched.faults;
  return fault === undefined
    ? ok({ ...checked.value, inputs: [...checked.value.inputs, ...fetched.inputs] })
    : fail(invalidRequest([fault, ...faults]));
}

/**
 * A request that would be refused today, though it was taken when it came first: an asset or an endpoint has gone since. It is
 * answered as it was then.
 */
async function recalled(
  core: Core,
  caller: Caller,
  idempotency: Idempotency,
): Promise<Result<Submitted, never> | null> {
  const seen = await repeatable(() => accountStub(core.env, caller.account).recall(idempotency));
  const job = seen === null ? null : await repeatable(() => jobStub(core.env, seen.job).first(caller.account));
  return job === null ? null : ok({ job, replayed: true, quota: null });
}

/** The same request came before: its answer, once there is one. */
async function known(
  core: Core,
  caller: Caller,
  { job, in_flight, quota }: Admission & { kind: 'known' },
): Promise<Result<Submitted, CoreProblem>> {
  const first = await repeatable(() => jobStub(core.env, job).first(caller.account));
  if (first !== null) {
    return ok({ job: first, replayed: true, quota });
  }
  return fail(
    in_flight
      ? {
          code: 'idempotency_in_flight',
          detail: 'the first request with this Idempotency-Key is still being worked on',
          retryAfterS: IN_FLIGHT_AGAIN_S,
          shouldRetry: true,
          quota,
        }
      : { code: 'idempotency_key_reuse', detail: 'the job of this Idempotency-Key has been erased', quota },
  );
}

function refused(admission: Admission & { kind: 'reused' | 'refused' }): CoreProblem {
  const { quota } = admission;
  if (admission.kind === 'reused') {
    const detail = 'this Idempotency-Key came with another body before; use a new one';
    return { code: 'idempotency_key_reuse', detail, quota };
  }
  const { code, detail, retry_after_s } = admission;
  return {
    code,
    detail,
    retryAfterS: Math.max(1, Math.ceil(retry_after_s)),
    shouldRetry: code !== 'budget_exceeded',
    violated: [VIOLATED[code]],
    quota,
  };
}
