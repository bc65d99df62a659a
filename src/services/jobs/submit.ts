import { VIOLATED, type Admission, type AdmitRequest, type Idempotency, type Quota } from '../../contract/admission.ts';
import type { JobView } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import { cacheQuota } from '../account/quota.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { overloadProblem } from '../endpoints/shedding.ts';
import { admissionExpiresAt } from '../../domain/job/admission.ts';
import { invalidRequest, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { deadlineIn, type Deadline } from '../../lib/stalled-stream.ts';
import { storageFull } from '../assets/refusals.ts';
import { requestRules } from '../../providers/gpu/request-rules.ts';
import { checkRequest, type Checked } from './check.ts';
import { fallbacksFor } from './fallbacks.ts';
import { storeInline, type JobBody } from './inline.ts';
import { FETCH_ALL_TIMEOUT_MS, fetchRemote } from './inputs.ts';
import { missingAssetProblem, releaseAssets, referencesOf } from './asset-references.ts';

/**
 * An accepted job. `replayed`: an earlier request with the same idempotency key created it, and gets the same answer
 * again.
 */
export type Submitted = { job: JobView; replayed: boolean; quota: Quota | null };

/** Delays admission until it is this job's turn in a batch. Without a batch, admission happens at once. */
export type InTurn = <T>(admit: () => Promise<T>) => Promise<T>;

/**
 * Options of a submit besides its body. `isStillAuthorized`: rechecks that the caller is still authorized after a long
 * fetch; by default it always is. `fetchDeadline`: a shared deadline for the files of all jobs of a batch; a single job
 * has its own.
 */
export type SubmitOptions = {
  idempotency?: Idempotency | null;
  inTurn?: InTurn;
  isStillAuthorized?: () => Promise<boolean>;
  fetchDeadline?: Deadline;
};

/** Retry-After, in seconds, while the first request with the same idempotency key is in progress. */
const IN_FLIGHT_RETRY_S = 1;

/**
 * Submits a job: checks the request, asks the Account object for admission, stores inline files, and creates the job in
 * its object. When this returns a job, it is stored durably. An invalid request stores and counts nothing. A submit
 * makes two object calls, `Account.admit` and `Job.create`. A request with an idempotency key first makes one more
 * call, before anything is checked or fetched. `admit` decides between concurrent requests with the same key.
 */
export async function submitJob(
  context: ServiceContext,
  caller: Caller,
  body: JobBody,
  {
    idempotency = null,
    inTurn = (admit) => admit(),
    isStillAuthorized = () => Promise.resolve(true),
    fetchDeadline,
  }: SubmitOptions = {},
): Promise<Result<Submitted, Problem>> {
  const received_at = context.clock();
  const earlier = idempotency === null ? null : await findEarlierSubmit(context, caller, idempotency);
  if (earlier !== null) {
    return earlier;
  }
  const checked = await checkRequest(context, caller, body);
  if (!checked.ok) {
    return checked;
  }
  const { endpoint: wanted, shaped: wish, inputNames } = checked.value;
  const fallbacks = await fallbacksFor(context, caller, wanted, wish.graph, [...inputNames.values()]);
  const names = fallbacks.map((fallback) => fallback.endpoint);
  const unavailable = overloadProblem(context, checked.value.endpoint, names);
  if (unavailable !== null) {
    return fail(unavailable);
  }
  const ready = await fetchRemoteInputs(context, caller, checked.value, fetchDeadline);
  if (!ready.ok) {
    return ready;
  }
  if (!(await isStillAuthorized())) {
    await releaseAssets(context, caller, ready.value.fetched);
    return fail({ code: 'unauthorized', detail: "The API key was revoked while the job's inputs were being fetched." });
  }
  const { endpoint, finishWithinS, startWithinS, inline, priority } = ready.value;
  const id = context.newId();
  const created_at = context.clock();
  const finish_ms = Math.round(finishWithinS * 1000);
  const price_per_second = context.config.endpoints[endpoint]?.price?.per_second ?? null;
  // The job may run on any of them, so the most expensive one counts. Either all have a price or none has
  // (config/schema.ts).
  const dearest = Math.max(price_per_second ?? 0, ...fallbacks.map((each) => each.price_per_second ?? 0));
  const account = context.env.ACCOUNT.getByName(caller.account);
  const request: AdmitRequest = {
    job: id,
    account: caller.account,
    key: caller.key,
    inputs: referencesOf(ready.value),
    retention: ready.value.retention,
    priority,
    expires_at: admissionExpiresAt(created_at + finish_ms, context.config.policy),
    reserve: {
      gpu_ms: finish_ms,
      micro_usd: price_per_second === null ? null : Math.ceil(dearest * finish_ms * 1000),
    },
    idempotency,
  };
  const admission = await inTurn(() => withRpcRetry(() => account.admit(request)));
  cacheQuota(caller.account, admission.quota, context.clock());
  if (admission.kind !== 'admitted') {
    await releaseAssets(context, caller, ready.value.fetched);
    return admission.kind === 'known'
      ? earlierResponse(context, caller, admission)
      : fail(admissionProblem(admission, ready.value));
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
    worker: context.config.endpoints[endpoint]?.worker ?? 'worker-gpu',
    waits,
    queue_position,
  };
  let mayExist = admitted !== id;
  try {
    if (mayExist) {
      // An earlier request with this key was interrupted before or after it created its job.
      const first = await withRpcRetry(() => context.env.JOB.getByName(admitted).initialView(caller.account));
      if (first !== null) {
        return ok({ job: first, replayed: true, quota });
      }
    }
    await storeInline(context, caller, inline);
    mayExist = true;
    return ok({
      job: await withRpcRetry(() => context.env.JOB.getByName(admitted).create(job)),
      replayed: false,
      quota,
    });
  } catch (error) {
    await withRpcRetry(() => account.cancelAdmission(admitted, mayExist, lease)).catch(() => {});
    throw error;
  }
}

/** Fetches the request's remote files and adds them to its inputs. `fetched`: their hashes. */
async function fetchRemoteInputs(
  context: ServiceContext,
  caller: Caller,
  checked: Checked,
  shared: Deadline | undefined,
): Promise<Result<Checked & { fetched: string[] }, Problem>> {
  const deadline = shared ?? deadlineIn(FETCH_ALL_TIMEOUT_MS);
  const { inputs, issues } = await fetchRemote(context, caller, checked.remote, deadline.signal).finally(() => {
    if (shared === undefined) {
      deadline.stop();
    }
  });
  const hashes = inputs.map(({ sha256 }) => sha256);
  const all = [...checked.inputs, ...inputs];
  if (inputs.length > 0) {
    // The sizes of remote files are known only now.
    const { worker } = context.config.endpoints[checked.endpoint] ?? {};
    issues.push(...requestRules(worker).runIssues(checked.shaped.text, all));
  }
  const [issue, ...others] = issues;
  if (issue !== undefined) {
    await releaseAssets(context, caller, hashes);
    return fail(invalidRequest([issue, ...others]));
  }
  return ok({ ...checked, inputs: all, fetched: hashes });
}

/**
 * Returns the answer of an earlier request with this key, without asking for admission. Null when there was none, or
 * when this request must finish its work. The answer is the same as then, even when the request would be rejected today
 * because an asset or endpoint is gone.
 */
async function findEarlierSubmit(
  context: ServiceContext,
  caller: Caller,
  idempotency: Idempotency,
): Promise<Result<Submitted, Problem> | null> {
  const earlier = await withRpcRetry(() =>
    context.env.ACCOUNT.getByName(caller.account).findByIdempotencyKey(idempotency),
  );
  if (earlier === null) {
    return null;
  }
  if (earlier.kind === 'reused') {
    return fail(keyReuseProblem(earlier.quota));
  }
  const answer = await earlierResponse(context, caller, earlier);
  // The earlier request was interrupted: it has no job and is not in progress.
  return answer.ok || earlier.in_flight || earlier.finished ? answer : null;
}

/** Returns the answer of an earlier request with the same key and body, or a problem while it is in progress. */
async function earlierResponse(
  context: ServiceContext,
  caller: Caller,
  { job, in_flight, quota }: Admission & { kind: 'known' },
): Promise<Result<Submitted, Problem>> {
  const first = await withRpcRetry(() => context.env.JOB.getByName(job).initialView(caller.account));
  if (first !== null) {
    return ok({ job: first, replayed: true, quota });
  }
  return fail(
    in_flight
      ? {
          code: 'idempotency_in_flight',
          detail: 'The first request with this Idempotency-Key is still in progress. Send this request again later.',
          retryAfterS: IN_FLIGHT_RETRY_S,
          quota,
        }
      : {
          code: 'idempotency_key_reuse',
          detail: 'The job of this Idempotency-Key has been erased. Use a new key.',
          quota,
        },
  );
}

const keyReuseProblem = (quota: Quota): Problem => ({
  code: 'idempotency_key_reuse',
  detail: 'This Idempotency-Key was used with a different request. Use a new key.',
  quota,
});

function admissionProblem(admission: Exclude<Admission, { kind: 'admitted' | 'known' }>, checked: Checked): Problem {
  const { quota } = admission;
  switch (admission.kind) {
    case 'reused':
      return keyReuseProblem(quota);
    case 'missing':
      return { ...missingAssetProblem(admission, checked), quota };
    case 'storage_full':
      return { ...storageFull, quota };
    case 'retention_too_long': {
      const detail = `"retention" must be at most ${admission.max} seconds for this account.`;
      return { ...invalidRequest([{ pointer: '#/retention', code: 'out_of_range', detail }]), quota };
    }
    case 'refused': {
      const { code, detail, retry_after_s } = admission;
      return {
        code,
        detail,
        retryAfterS: Math.max(1, Math.ceil(retry_after_s)),
        violated: [VIOLATED[code]],
        quota,
      };
    }
  }
}
