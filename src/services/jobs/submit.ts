import { VIOLATED, type Admission, type AdmitRequest, type Idempotency, type Quota } from '../../contract/admission.ts';
import type { JobView } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import { accountStub, jobStub } from '../../durable-objects/shared/stubs.ts';
import { remember } from '../account/quota.ts';
import type { Caller, Core } from '../context.ts';
import { shed } from '../endpoints/shedding.ts';
import { lapsesAt } from '../../domain/job/admission.ts';
import { invalidRequest, type CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { deadlineIn, type Deadline } from '../../lib/stalled-stream.ts';
import { storageFull } from '../assets/refusals.ts';
import { checkRequest, type Checked } from './check.ts';
import { fallbacksFor } from './fallbacks.ts';
import { inlineFaults } from './inline-run.ts';
import { storeInline, type JobBody } from './inline.ts';
import { FETCH_ALL_TIMEOUT_MS, fetchRemote } from './inputs.ts';
import { goneProblem, letGo, usesOf } from './asset-references.ts';

/** A job that was taken. `replayed`: it was taken earlier, with the same idempotency key, and this is what was answered then. */
export type Submitted = { job: JobView; replayed: boolean; quota: Quota | null };

/** Asks for admission when it is this job's turn; at once where nobody else is waited for. */
export type InTurn = <T>(admit: () => Promise<T>) => Promise<T>;

/**
 * What a submit may be told beside its body. `standing`: whether whoever asks may still, where that was long ago; else always.
 * `fetchDeadline`: for the files of several jobs together; a job by itself has its own.
 */
export type SubmitOptions = {
  idempotency?: Idempotency | null;
  inTurn?: InTurn;
  standing?: () => Promise<boolean>;
  fetchDeadline?: Deadline;
};

/** When a client whose first request is still being worked on had better ask again. */
const IN_FLIGHT_AGAIN_S = 1;

/**
 * Takes a job: checks everything, asks the account for admission, stores what came inline, and hands the job to its object.
 * The job exists, durably, when this returns it. Nothing is stored or counted for a request that has a fault. Two calls of objects
 * on this way: the account's, and the job's. A request with an idempotency key makes one more before anything is checked or fetched;
 * `admit` decides between requests with one key that come at the same time.
 */
export async function submitJob(
  core: Core,
  caller: Caller,
  body: JobBody,
  {
    idempotency = null,
    inTurn = (admit) => admit(),
    standing = () => Promise.resolve(true),
    fetchDeadline,
  }: SubmitOptions = {},
): Promise<Result<Submitted, CoreProblem>> {
  const received_at = core.clock();
  const earlier = idempotency === null ? null : await recalled(core, caller, idempotency);
  if (earlier !== null) {
    return earlier;
  }
  const checked = await checkRequest(core, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { endpoint: wanted, shaped: wish, inputNames } = checked.value;
  const fallbacks = await fallbacksFor(core, caller, wanted, wish.graph, [...inputNames.values()]);
  const names = fallbacks.map((fallback) => fallback.endpoint);
  const unavailable = shed(core, checked.value.endpoint, names);
  if (unavailable !== null) {
    return fail(unavailable);
  }
  const ready = await fetched(core, caller, checked.value, fetchDeadline);
  if (!ready.ok) {
    return ready;
  }
  if (!(await standing())) {
    await letGo(core, caller, ready.value.fetched);
    return fail({ code: 'unauthorized', detail: 'the key was ended while the files of this job were fetched' });
  }
  const { endpoint, finishWithinS, startWithinS, inline, priority } = ready.value;
  const id = core.newId();
  const created_at = core.clock();
  const finish_ms = Math.round(finishWithinS * 1000);
  const price_per_second = core.config.endpoints[endpoint]?.price?.per_second ?? null;
  // It may run at any of them, in the end at the dearest. All have a price or none has (config/schema.ts).
  const dearest = Math.max(price_per_second ?? 0, ...fallbacks.map((each) => each.price_per_second ?? 0));
  const account = accountStub(core.env, caller.account);
  const request: AdmitRequest = {
    job: id,
    account: caller.account,
    key: caller.key,
    inputs: usesOf(ready.value),
    retention: ready.value.retention,
    priority,
    expires_at: lapsesAt(created_at + finish_ms, core.config.policy),
    reserve: {
      gpu_ms: finish_ms,
      micro_usd: price_per_second === null ? null : Math.ceil(dearest * finish_ms * 1000),
    },
    idempotency,
  };
  const admission = await inTurn(() => repeatable(() => account.admit(request)));
  remember(caller.account, admission.quota, core.clock());
  if (admission.kind !== 'admitted') {
    await letGo(core, caller, ready.value.fetched);
    return admission.kind === 'known' ? known(core, caller, admission) : fail(refused(admission, ready.value));
  }
  const { job: admitted, lease, waits, queue_position, retention_ms, quota } = admission;
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
    received_at,
    created_at,
    deadline: created_at + finish_ms,
    start_deadline: startWithinS === null ? null : created_at + Math.round(startWithinS * 1000),
    retention_ms,
    price_per_second,
    fallbacks,
    worker: core.config.endpoints[endpoint]?.worker ?? 'worker-gpu',
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
    await repeatable(() => account.abandon(admitted, mayExist, lease)).catch(() => {});
    throw error;
  }
}

/** The request with the files that are elsewhere; `fetched`: their hashes. */
async function fetched(
  core: Core,
  caller: Caller,
  checked: Checked,
  shared: Deadline | undefined,
): Promise<Result<Checked & { fetched: string[] }, CoreProblem>> {
  const deadline = shared ?? deadlineIn(FETCH_ALL_TIMEOUT_MS);
  const { inputs, faults } = await fetchRemote(core, caller, checked.remote, deadline.signal).finally(() => {
    if (shared === undefined) {
      deadline.stop();
    }
  });
  const hashes = inputs.map(({ sha256 }) => sha256);
  const all = [...checked.inputs, ...inputs];
  if (inputs.length > 0) {
    // Only now is it known how large they are.
    faults.push(...inlineFaults(core.config.endpoints[checked.endpoint], checked.shaped.text, all));
  }
  const [fault, ...others] = faults;
  if (fault !== undefined) {
    await letGo(core, caller, hashes);
    return fail(invalidRequest([fault, ...others]));
  }
  return ok({ ...checked, inputs: all, fetched: hashes });
}

/**
 * What became of an earlier request with this key, without asking to be admitted; null when there was none, or when its work is to be
 * finished. It is answered as it was then, even if it would be refused today: an asset or an endpoint may have gone since.
 */
async function recalled(
  core: Core,
  caller: Caller,
  idempotency: Idempotency,
): Promise<Result<Submitted, CoreProblem> | null> {
  const seen = await repeatable(() => accountStub(core.env, caller.account).recall(idempotency));
  if (seen === null) {
    return null;
  }
  if (seen.kind === 'reused') {
    return fail(reused(seen.quota));
  }
  const answer = await known(core, caller, seen);
  // Neither a job nor anyone who works on it: it broke off.
  return answer.ok || seen.in_flight || seen.over ? answer : null;
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

const reused = (quota: Quota): CoreProblem => ({
  code: 'idempotency_key_reuse',
  detail: 'this Idempotency-Key came with another body before; use a new one',
  quota,
});

function refused(admission: Exclude<Admission, { kind: 'admitted' | 'known' }>, checked: Checked): CoreProblem {
  const { quota } = admission;
  switch (admission.kind) {
    case 'reused':
      return reused(quota);
    case 'gone':
      return { ...goneProblem(admission, checked), quota };
    case 'no_room':
      return { ...storageFull, quota };
    case 'kept_too_long': {
      const detail = `jobs of this account are kept for ${admission.most} seconds at most`;
      return { ...invalidRequest([{ pointer: '#/retention', code: 'out_of_range', detail }]), quota };
    }
    case 'refused': {
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
  }
}
