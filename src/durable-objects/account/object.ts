import { DurableObject } from 'cloudflare:workers';
import { requireConfig } from '../../config/schema.ts';
import type { Admission, AdmitRequest, Idempotency, Quota, StoredAdmission, Used } from '../../contract/admission.ts';
import type { AccountLimits, OwnLimits } from '../../contract/limits.ts';
import type { Asset, NewUpload, StoredFile, Upload } from '../../contract/assets.ts';
import type { AccountRpc } from '../../contract/rpc.ts';
import type { Env } from '../../env.ts';
import { uuidV7 } from '../../lib/ids.ts';
import { consoleLog } from '../../providers/log.ts';
import { Alarm } from '../shared/alarm.ts';
import { applySchema, type Schema } from '../shared/schema.ts';
import { ASSETS, Assets } from './assets.ts';
import { Files, OWNER } from './files.ts';
import { Limits, LIMIT_OVERRIDES } from './limits.ts';
import { Slots, SLOTS } from './slots.ts';
import { type Occupancy, quotaOf, refusal } from './refusal.ts';
import { IDEMPOTENCY_KEYS, IdempotencyKeys } from './idempotency.ts';
import { SPEND, DailySpend } from './budget.ts';
import { SUBMITS, SubmitCounter } from './rate-limit.ts';
import { UPLOADS, Uploads } from './uploads.ts';
import { errorMessage } from '../../lib/error-message.ts';

const SCHEMA: Schema = [
  SUBMITS + LIMIT_OVERRIDES + SLOTS + IDEMPOTENCY_KEYS + SPEND,
  // What was added for files.
  ASSETS + UPLOADS + OWNER,
];

type StorageRefusal = DistributiveOmit<
  Extract<Admission, { kind: 'retention_too_long' | 'storage_full' | 'missing' }>,
  'quota'
>;

/**
 * One object per account. It admits jobs, and keeps the account's assets and uploads.
 *
 * Concurrency: an admission is decided by one synchronous transaction, so parallel submits can never exceed a limit
 * together. Only work on files awaits R2; `Files` says in which order. Everything may be called again with the same
 * answer.
 *
 * Storage (SQLite, docs/reference/storage.md): `slots`, `submits`, `spend`, `limit_overrides`, `idempotency_keys`;
 * `assets`, `asset_uses`, `pending_deletions`, `uploads`, `owner`. Totals of `slots` and `submits` are also on the
 * heap, so that a decision reads no more rows the more jobs there are. They are counted again when a transaction is
 * rolled back.
 *
 * Invariants:
 * - at most `jobs_in_flight` jobs are `active`, and at most `max_queued` are queued when a job is admitted;
 * - every job in `slots` has its highest cost reserved until it is released, and its actual cost is then added to
 *   `spend`;
 * - an asset that an unfinished job reads is not deleted;
 * - the alarm is set whenever something expires.
 */
export class Account extends DurableObject<Env> implements AccountRpc {
  private readonly submits: SubmitCounter;
  private readonly ownLimits: Limits;
  private readonly slots: Slots;
  private readonly idempotencyKeys: IdempotencyKeys;
  private readonly spend: DailySpend;
  private readonly assets: Assets;
  private readonly uploads: Uploads;
  private readonly files: Files;
  private readonly nextAlarm: Alarm;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    applySchema(ctx.storage, SCHEMA);
    this.nextAlarm = new Alarm(ctx.storage);
    this.submits = new SubmitCounter(sql);
    this.ownLimits = new Limits(sql);
    this.slots = new Slots(sql);
    this.idempotencyKeys = new IdempotencyKeys(sql);
    this.spend = new DailySpend(sql);
    this.assets = new Assets(
      sql,
      uuidV7(() => Date.now()),
    );
    this.uploads = new Uploads(sql);
    this.files = new Files({ sql, bucket: env.BUCKET, assets: this.assets, uploads: this.uploads });
  }

  async admit(request: AdmitRequest): Promise<Admission> {
    await this.files.evictFor(request.inputs);
    const now = Date.now();
    const decided = this.transaction(() => this.decide(request, now));
    if (request.inputs.length > 0) {
      this.setAlarm(now);
    }
    return { ...decided, quota: this.quotaAt(now) };
  }

  private decide(request: AdmitRequest, now: number): DistributiveOmit<Admission, 'quota'> {
    const { idempotency } = request;
    this.slots.expire(now);
    const stored = idempotency === null ? { kind: 'free' as const } : this.idempotencyKeys.find(idempotency, now);
    if (stored.kind === 'reused') {
      return { kind: 'reused' };
    }
    // In flight under the requested id: the same call again, whose answer was lost.
    if (stored.kind === 'done' || (stored.kind === 'in_flight' && stored.job !== request.job)) {
      return { kind: 'known', job: stored.job, in_flight: stored.kind === 'in_flight' };
    }
    const limits = this.limits();
    // An earlier request with this key was interrupted, and its work is finished under the id that it was given.
    const job = 'job' in stored ? stored.job : request.job;
    const slot = this.slots.stateOf(job);
    if (slot === 'active' || slot === 'queued') {
      this.slots.extend(job, request.expires_at);
    } else {
      const problem = this.storageProblem(request, limits, now);
      if (problem !== null) {
        return problem;
      }
      const costs = () => ({ spent: this.spend.today(now), reserved: this.slots.reserved() });
      const refused = refusal(request, limits, this.occupancyAt(now), costs, now);
      if (refused !== null) {
        return refused;
      }
      this.submits.add(now);
      this.slots.enqueue({ ...request, job }, limits.jobs_in_flight);
    }
    const lease = idempotency === null ? null : this.idempotencyKeys.acquireLease(idempotency, job, now);
    if (request.inputs.length > 0) {
      this.files.setOwner(request.account);
      const expires_at = now + limits.asset_retention * 1000;
      this.assets.use(job, request.inputs, { now, until: request.expires_at, expires_at });
    }
    this.promote(job);
    const waits = this.slots.count('queued') > 0 && this.slots.stateOf(job) === 'queued';
    const queue_position = waits ? this.slots.queuePosition(job) : null;
    return {
      kind: 'admitted',
      job,
      lease,
      waits,
      queue_position,
      retention_ms: (request.retention ?? limits.retention) * 1000,
    };
  }

  /** Why the job or its files cannot be stored as requested; null when they can. */
  private storageProblem(
    { inputs, retention }: AdmitRequest,
    limits: AccountLimits,
    now: number,
  ): StorageRefusal | null {
    if (retention !== null && retention > limits.retention) {
      return { kind: 'retention_too_long', max: limits.retention };
    }
    const attached = inputs.filter((input) => input.attached);
    if (!this.files.hasRoom(attached, now, limits.stored_bytes)) {
      return { kind: 'storage_full', max: limits.stored_bytes ?? 0 };
    }
    const missing = this.assets.missing(inputs);
    return missing.length > 0 ? { kind: 'missing', assets: missing } : null;
  }

  findByIdempotencyKey(idempotency: Idempotency): StoredAdmission | null {
    const now = Date.now();
    const stored = this.idempotencyKeys.find(idempotency, now);
    const quota = this.quotaAt(now);
    if (stored.kind === 'free') {
      return null;
    }
    return 'job' in stored
      ? {
          kind: 'known',
          job: stored.job,
          in_flight: stored.kind === 'in_flight',
          finished: stored.kind === 'done',
          quota,
        }
      : { kind: 'reused', quota };
  }

  async cancelAdmission(job: string, mayExist: boolean, lease: number | null): Promise<void> {
    if (lease !== null && this.idempotencyKeys.isTakenOver(job, lease)) {
      return;
    }
    if (mayExist) {
      this.slots.markExpired(job);
      this.idempotencyKeys.releaseLease(job);
    } else {
      this.slots.remove(job);
      this.idempotencyKeys.delete(job);
    }
    this.promote();
    if (!mayExist) {
      await this.onJobErased(job);
    }
  }

  queuePosition(job: string): number | null {
    return this.slots.queuePosition(job);
  }

  tryStart(job: string, expires_at: number): boolean {
    this.slots.expire(Date.now());
    const slot = this.slots.stateOf(job);
    if (slot === null || slot === 'expired') {
      this.slots.requeue(job, expires_at);
    }
    this.promote(job);
    return this.slots.stateOf(job) === 'active';
  }

  releaseSlot(job: string, used: Used): void {
    const now = Date.now();
    this.transaction(() => {
      if (this.slots.remove(job)) {
        this.spend.add(used, now);
      }
      this.idempotencyKeys.markDone(job);
      this.assets.endUses(job, this.assetExpiry(now));
      this.slots.expire(now);
      this.promote();
    });
  }

  async onJobErased(job: string): Promise<void> {
    const now = Date.now();
    await this.thenSweep(now, this.files.onJobErased(job, now));
  }

  async recordAsset(
    account: string,
    file: StoredFile,
    how: { uploaded: boolean; created: boolean },
  ): Promise<Asset | 'retry' | 'full'> {
    this.files.setOwner(account);
    const now = Date.now();
    const times = { now, expires_at: this.assetExpiry(now) };
    return this.thenSweep(now, this.files.record(file, how, times, this.limits().stored_bytes));
  }

  recordFoundAssets(account: string, files: readonly StoredFile[]): void {
    this.files.setOwner(account);
    const now = Date.now();
    for (const file of files) {
      if (!this.assets.isPendingDeletion(file.sha256) && this.assets.find(file.sha256) === null) {
        this.assets.record(file, true, this.assetExpiry(now));
      }
    }
    this.setAlarm(now);
  }

  asset(sha256: string): Asset | null {
    return this.assets.find(sha256);
  }

  listAssets(limit: number, before: string | null): (Asset & { position: string })[] {
    return this.assets.list(limit, before);
  }

  async deleteAsset(sha256: string): Promise<'removed' | 'not_found' | 'in_use'> {
    const now = Date.now();
    return this.thenSweep(now, this.files.remove(sha256, now));
  }

  async deleteOrphans(hashes: readonly string[]): Promise<void> {
    const now = Date.now();
    await this.thenSweep(now, this.files.deleteOrphans(hashes, now));
  }

  beginUpload(account: string, requested: NewUpload): Upload | 'too_many' | 'full' {
    this.files.setOwner(account);
    const now = Date.now();
    const max = { uploads: requireConfig(this.env).limits.max_open_uploads, bytes: this.limits().stored_bytes };
    const upload = this.files.beginUpload(requested, { now, life_ms: this.uploadLife() }, max);
    this.setAlarm(now);
    return upload;
  }

  upload(id: string): Upload | null {
    return this.uploads.find(id, Date.now(), this.uploadLife());
  }

  endUpload(id: string, status: 'stored' | 'closed'): void {
    const now = Date.now();
    this.uploads.end(id, status, now);
    this.setAlarm(now);
  }

  /** Sweeps what has expired. */
  override async alarm(): Promise<void> {
    await this.nextAlarm.run({ account: this.files.owner() ?? '' }, () => this.files.sweep(Date.now()));
    this.setAlarm(Date.now());
  }

  quota(): Quota {
    return this.quotaAt(Date.now());
  }

  setLimits(own: OwnLimits): AccountLimits {
    this.ownLimits.set(own);
    this.promote();
    return this.limits();
  }

  limits(): AccountLimits {
    return this.ownLimits.of(requireConfig(this.env));
  }

  private assetExpiry(now: number): number {
    return now + this.limits().asset_retention * 1000;
  }

  private uploadLife(): number {
    return requireConfig(this.env).policy.upload_retention * 1000;
  }

  /** Sets the alarm after work on files, even if that failed: a sweep deletes what it left. */
  private async thenSweep<T>(now: number, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } finally {
      this.setAlarm(now);
    }
  }

  private setAlarm(now: number): void {
    const at = this.files.nextSweep(now);
    if (at !== null) {
      this.nextAlarm.setBy(at);
    }
  }

  /** Does all of `work` or nothing. The totals on the heap follow. */
  private transaction<T>(work: () => T): T {
    try {
      return this.ctx.storage.transactionSync(work);
    } catch (error) {
      this.slots.recount();
      this.submits.recount();
      throw error;
    }
  }

  private quotaAt(now: number): Quota {
    return quotaOf(this.limits(), this.occupancyAt(now), now);
  }

  private occupancyAt(now: number): Occupancy {
    return {
      submits: this.submits.count(now),
      active: this.slots.count('active'),
      queued: this.slots.count('queued'),
    };
  }

  /**
   * Gives free slots to queued jobs and notifies them, except `self`, which gets the answer to its call. A job that
   * could not be notified, or does not exist yet, asks by `tryStart`.
   */
  private promote(self?: string): void {
    const admitted = this.slots.promote(this.limits().jobs_in_flight).filter((job) => job !== self);
    if (admitted.length > 0) {
      this.ctx.waitUntil(Promise.all(admitted.map((job) => this.notifyAdmitted(job))));
    }
  }

  private async notifyAdmitted(job: string): Promise<void> {
    try {
      await this.env.JOB.getByName(job).onAdmitted();
    } catch (error) {
      consoleLog({ event: 'admission_notify_failed', job, detail: errorMessage(error) });
    }
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
