import type { Admission, AdmitRequest, Idempotency, Quota, StoredAdmission, Used } from './admission.ts';
import type { AccountLimits, OwnLimits } from './limits.ts';
import type { Asset, NewUpload, StoredFile, Upload } from './assets.ts';
import type { AcquireResult, BreakerMode, CallOutcome, EndpointStatus, Capacity, BreakerState } from './endpoint.ts';
import type { JobView, Status } from './job.ts';
import type { JobInput, JobOptions, NewJob } from './new-job.ts';
import type {
  DeliveryStatus,
  DeliveryView,
  NewWebhook,
  PING,
  WebhookChange,
  WebhookEvent,
  WebhookRefusal,
  WebhookView,
} from './webhook.ts';
import type { ClaimRequest, CompleteRequest } from './worker.ts';

/**
 * What the Durable Objects answer by RPC. Each class implements its interface (`class Job … implements JobRpc`), and
 * callers see the interface only, through `env.JOB.getByName(id)` and its like. Times are in ms since the epoch unless
 * named otherwise.
 *
 * A call may fail with an error of the platform: the object was moved, restarted, or is overloaded. Every method gives
 * the same answer to the same call, so it may be repeated (`durable-objects/shared/rpc-retry.ts`).
 */

/** A method as callers see it: it answers with a promise, whether the object's own method does or not. */
type Remote<T> = {
  [Name in keyof T]: T[Name] extends (...args: infer Args) => infer Answer
    ? (...args: Args) => Promise<Awaited<Answer>>
    : never;
};

/**
 * A stub of an object. The platform's own `DurableObjectStub<T>` turns JSON of unknown depth (error details, resolved
 * overrides) into `never`.
 */
export type Stub<T> = Remote<T> & DurableObjectStub;

/**
 * The objects of one class, by name. Any name makes an object, so check that a name is one of ours before you use it.
 */
export interface ObjectNamespace<T> extends DurableObjectNamespace {
  getByName(name: string, options?: DurableObjectNamespaceGetDurableObjectOptions): Stub<T>;
}

/** What a worker is given with a granted claim. */
export type JobSpec = {
  account: string;
  endpoint: string;
  workflow: string;
  inputs: JobInput[];
  options: JobOptions;
  deadline: number;
};

/**
 * Why a worker's call was refused: the job does not exist, another worker has claimed the attempt, or the attempt is no
 * longer the current one.
 */
export type WorkerRefusal = 'not_found' | 'claimed_elsewhere' | 'finished';

/**
 * One object per job, by the job's id.
 *
 * Its WebSockets are opened by `fetch`, since an upgrade cannot be an RPC: `/channel?attempt&claim` for the worker that
 * claimed the attempt, `/watch?account&after` for a watcher.
 */
export interface JobRpc {
  /**
   * Stores a new job and starts it, or has it wait until its account admits it (`onAdmitted`). Durable when it returns.
   * A second call with the same id gets the first answer, also when the job has finished or is erased.
   */
  create(job: NewJob): JobView;
  /** What `create` answered; null as for `view`. */
  initialView(account: string): JobView | null;
  /** The account has a slot for the job. */
  onAdmitted(): void;
  /** The job, or null when there is none or it is another account's. */
  view(account: string): JobView | null;
  /** Asks the job to stop; null as for `view`. */
  cancel(account: string): JobView | null;
  /**
   * Removes a finished job before its retention ends. No caller can see it afterwards. Notifications about it that are
   * still to be sent go out first.
   */
  erase(account: string): Promise<'erased' | 'not_found' | 'not_finished'>;
  /** A worker claims an attempt. Repeating a granted claim grants it again. */
  claim(request: ClaimRequest): { granted: JobSpec } | { refused: WorkerRefusal };
  /** Whether this claim may still put files in R2 for the job, and under which account. */
  uploadTarget(attempt: number, claim: string): { account: string; deadline: number } | { refused: WorkerRefusal };
  /** The endpoint of the current attempt; null when `attempt` is not the current one. */
  attemptEndpoint(attempt: number): string | null;
  /** Stores the worker's final report, once its outputs are found in R2 with the reported sizes. */
  complete(report: CompleteRequest): Promise<{ stored: Status } | { missing: string[] } | { refused: WorkerRefusal }>;
  /** RunPod's webhook arrived for an attempt. True when the run's id is not known: see `setProviderRunId`. */
  onProviderWebhook(attempt: number): boolean;
  /** RunPod's webhook for an attempt names this run. */
  setProviderRunId(attempt: number, runId: string): void;
  /**
   * Has the job check the clock and write its projection again. For the sweep: an alarm can be lost
   * (reference/cloudflare.md section 2), and so can a projection. False when there is no such job.
   */
  rearm(): Promise<boolean>;
  /**
   * Has a finished job do what its alarm is for. False when there is no such job, or it is erased and needs no row in
   * D1.
   */
  collectGarbage(): Promise<boolean>;
}

/** One object per account, by the account's name. */
export interface AccountRpc {
  /**
   * Admits a job, queues it, recognises a repeated request, or says which limit is reached: one transaction, so
   * parallel submits can never exceed a limit together. A job that is admitted or queued already gets the same answer
   * and counts nothing; a refusal counts nothing either.
   */
  admit(request: AdmitRequest): Promise<Admission>;
  /** What an earlier request with this idempotency key came to; null when there was none. Changes nothing. */
  findByIdempotencyKey(idempotency: Idempotency): StoredAdmission | null;
  /**
   * The request of an admitted job failed. `mayExist` false: its job does not exist, and this request will not create
   * it. Does nothing when another request with the key has taken the work over, which `lease` tells.
   */
  cancelAdmission(job: string, mayExist: boolean, lease: number | null): Promise<void>;
  /**
   * A queued job asks whether it may start. A job that the account does not know is queued again: it exists, so it was
   * admitted once.
   */
  tryStart(job: string, expires_at: number): boolean;
  /**
   * A job's position in the queue, from 1; null when it is not queued, or too far behind to be counted. Changes
   * nothing.
   */
  queuePosition(job: string): number | null;
  /** Frees a job's slot, and charges its actual cost to the budget instead of the reservation. */
  releaseSlot(job: string, used: Used): void;
  /** A job was erased. Inputs that came with jobs, and that no other job uses, are deleted. */
  onJobErased(job: string): Promise<void>;
  /**
   * Records a file that was put into R2 or found there. `uploaded`: a client sent it as an asset; else it is kept as
   * long as jobs use it. `created`: it was put for this call. The answer `retry` says that the file was being deleted
   * meanwhile and must be put once more; `full`, that the account has no room for it.
   */
  recordAsset(
    account: string,
    file: StoredFile,
    how: { uploaded: boolean; created: boolean },
  ): Promise<Asset | 'retry' | 'full'>;
  /** Records files that are in R2 and not in the account: those of a gateway that crashed in between. */
  recordFoundAssets(account: string, files: readonly StoredFile[]): void;
  /** The asset with this hash, or null. */
  asset(sha256: string): Asset | null;
  /** Assets, newest first, after the position `before` of the last one seen. */
  listAssets(limit: number, before: string | null): (Asset & { position: string })[];
  /** Deletes an asset, unless an unfinished job reads it. */
  deleteAsset(sha256: string): Promise<'removed' | 'not_found' | 'in_use'>;
  /** Deletes those of these files that only requests of jobs brought and that no job uses. */
  deleteOrphans(hashes: readonly string[]): Promise<void>;
  /**
   * Starts an upload of this file, or answers the open one. `too_many`: the account has `max_open_uploads` open
   * uploads; `full`: it has no room for the file.
   */
  beginUpload(account: string, requested: NewUpload): Upload | 'too_many' | 'full';
  /** The upload, whose expiry is extended by this call; null when there is none, or no longer. */
  upload(id: string): Upload | null;
  /** Ends an upload: its file is stored, or it was canceled. */
  endUpload(id: string, status: 'stored' | 'closed'): void;
  /** What is left of the limits. Changes nothing. */
  quota(): Quota;
  /** The limits of this account. */
  limits(): AccountLimits;
  /**
   * Replaces the account's own limits; a limit that is not given is as configured. Answers the limits that hold now.
   */
  setLimits(own: OwnLimits): AccountLimits;
}

/** One object per endpoint, by the endpoint's name in the configuration. */
export interface EndpointRpc {
  /**
   * A job is about to call `/run`. Not asked when its isolate has just seen the circuit breaker closed; asked again
   * each time the answer was to wait.
   * @param unasked runs that the caller's isolate sent without asking since it last asked; they are counted now
   */
  acquire(job: string, unasked?: number): AcquireResult;
  /** A waiting job no longer waits. */
  cancelWait(job: string): void;
  /**
   * How the `/run` call of this job ended. A success need not be reported unless `acquire` asked for it. Answers the
   * state of the circuit breaker.
   */
  reportOutcome(job: string, outcome: CallOutcome, retry_after_ms: number | null): BreakerMode;
  /** What a run that no worker has claimed is waiting for. Polls the provider unless its health is fresh. */
  capacity(): Promise<Capacity>;
  /** The circuit breaker, without a call to the provider. */
  breakerState(): BreakerState;
  /** The circuit breaker, the provider's health, and counts. */
  status(): Promise<EndpointStatus>;
}

/**
 * One object per webhook, by the webhook's id. Methods that are given an account answer nothing about another's
 * webhook.
 */
export interface WebhookRpc {
  /** Stores a new webhook. Durable when it returns; a second call with the same id answers the first one's. */
  create(request: NewWebhook): WebhookView;
  /** The webhook, or null when there is none or it is another account's. */
  view(account: string): WebhookView | null;
  /** Changes the given fields. Enabling it sends the queued events. Null as for `view`. */
  update(account: string, change: WebhookChange): Promise<WebhookView | null>;
  /** Makes a new secret the first that signs; older secrets sign too for `overlap_ms`. Null as for `view`. */
  rotateSecret(account: string, secret: string, overlap_ms: number): WebhookView | null;
  /** Removes the webhook and all it stored. False when there is none or it is another account's. */
  delete(account: string): Promise<boolean>;
  /**
   * Queues an event if the webhook's filter has its type. Durable when it returns; an event it already has changes
   * nothing.
   */
  enqueue(event: WebhookEvent): void;
  /** Queues a test event, regardless of the filter. */
  ping(account: string, event: WebhookEvent<typeof PING>): { queued: DeliveryView } | { refused: WebhookRefusal };
  /** A page of the delivery log, newest first; `next` continues it. Null as for `view`. */
  deliveries(
    account: string,
    page: { limit: number; before: number | null; status: DeliveryStatus | null },
  ): { deliveries: DeliveryView[]; next: number | null } | null;
  /** One delivery; null when there is none, or as for `view`. */
  delivery(account: string, id: string): DeliveryView | null;
  /** Queues a delivery again, with the same id and body and a new schedule. A pending one is left as it is. */
  redeliver(account: string, id: string): { queued: DeliveryView } | { refused: WebhookRefusal };
  /**
   * Queues all deliveries again that were created from `since` until before `until` and have this status; null for any.
   */
  redeliverRange(
    account: string,
    range: { since: number; until: number; status: DeliveryStatus | null },
  ): { queued: number } | { refused: WebhookRefusal };
  /** A job was erased: its events keep nothing but ids and the status. Events still to be sent are sent so. */
  onJobErased(account: string, job: string): void;
}
