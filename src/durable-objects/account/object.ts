import { DurableObject } from 'cloudflare:workers';
import { requireConfig } from '../../config/schema.ts';
import type { Admission, AdmitRequest, Idempotency, Quota, StoredAdmission, Used } from '../../contract/admission.ts';
import type { AccountLimits, OwnLimits } from '../../contract/limits.ts';
import type { Asset, NewUpload, StoredFile, Upload } from '../../contract/assets.ts';
import type { AccountRpc } from '../../contract/rpc.ts';
import type { Env } from '../../env.ts';
import { uuidV7 } from '../../lib/ids.ts';
import { consoleLog } from '../../providers/log.ts';
import { applySchema, type Schema } from '../shared/schema.ts';
import { ASSETS, Assets } from './assets.ts';
import { Files, OWNER } from './files.ts';
import { Limits, OWN_LIMITS } from './limits.ts';
import { PLACES, Places, SLOTS } from './slots.ts';
import { type Fill, quotaOf, refusal } from './refusal.ts';
import { IDEMPOTENCY_KEYS, REPEATS, Repeats } from './idempotency.ts';
import { SPEND, Spend } from './budget.ts';
import { SUBMITS, Submits } from './rate-limit.ts';
import { UPLOADS, Uploads } from './uploads.ts';
import { errorMessage } from '../../lib/error-message.ts';

const SCHEMA: Schema = [
  SUBMITS + OWN_LIMITS + PLACES + REPEATS + SPEND,
  ASSETS + UPLOADS + OWNER,
  SLOTS + IDEMPOTENCY_KEYS,
];

type Unkept = DistributiveOmit<Extract<Admission, { kind: 'kept_too_long' | 'no_room' | 'gone' }>, 'quota'>;

/**
 * One object per account: decides whether a job may start, waits or is refused. A decision is one call and one transaction, so
 * parallel submits can never pass a limit together. State is in SQLite: a restart must not forget who is in. What all rows come to is kept
 * on the heap beside it, so that a decision reads no more rows the more jobs there are.
 */
export class Account extends DurableObject<Env> implements AccountRpc {
  private readonly submits: Submits;
  private readonly own: Limits;
  private readonly places: Places;
  private readonly repeats: Repeats;
  private readonly spend: Spend;
  private readonly assets: Assets;
  private readonly uploads: Uploads;
  private readonly files: Files;
  /** What the alarm is set to, as far as this instance knows; null: unknown. */
  private alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    applySchema(ctx.storage, SCHEMA);
    this.submits = new Submits(sql);
    this.own = new Limits(sql);
    this.places = new Places(sql);
    this.repeats = new Repeats(sql);
    this.spend = new Spend(sql);
    this.assets = new Assets(
      sql,
      uuidV7(() => Date.now()),
    );
    this.uploads = new Uploads(sql);
    this.files = new Files({ sql, bucket: env.BUCKET, assets: this.assets, uploads: this.uploads });
  }

  /**
   * Lets a job in, puts it in line, recognises a repeated request, or says which limit is full. Asking again for a job that is
   * in or in line answers the same and counts nothing; a refusal counts nothing either.
   */
  async admit(request: AdmitRequest): Promise<Admission> {
    await this.files.makeWayFor(request.inputs);
    const now = Date.now();
    const decided = this.together(() => this.decide(request, now));
    if (request.inputs.length > 0) {
      this.setAlarm(now);
    }
    return { ...decided, quota: this.quotaAt(now) };
  }

  private decide(request: AdmitRequest, now: number): DistributiveOmit<Admission, 'quota'> {
    const { idempotency } = request;
    this.places.expire(now);
    const seen = idempotency === null ? { kind: 'free' as const } : this.repeats.look(idempotency, now);
    if (seen.kind === 'reused') {
      return { kind: 'reused' };
    }
    // In flight under the very id that is asked for: the same call again, whose answer was lost.
    if (seen.kind === 'done' || (seen.kind === 'in_flight' && seen.job !== request.job)) {
      return { kind: 'known', job: seen.job, in_flight: seen.kind === 'in_flight' };
    }
    const limits = this.limits();
    // An earlier request with this key broke off: its work is finished under the id it was given.
    const job = 'job' in seen ? seen.job : request.job;
    const place = this.places.stateOf(job);
    if (place === 'active' || place === 'queued') {
      this.places.extend(job, request.expires_at);
    } else {
      const unkept = this.cannotKeep(request, limits, now);
      if (unkept !== null) {
        return unkept;
      }
      const costs = () => ({ spent: this.spend.today(now), reserved: this.places.reserved() });
      const refused = refusal(request, limits, this.fillAt(now), costs, now);
      if (refused !== null) {
        return refused;
      }
      this.submits.add(now);
      this.places.enter({ ...request, job }, limits.jobs_in_flight);
    }
    const lease = idempotency === null ? null : this.repeats.hold(idempotency, job, now);
    if (request.inputs.length > 0) {
      this.files.belongTo(request.account);
      const expires_at = now + limits.asset_retention * 1000;
      this.assets.use(job, request.inputs, { now, until: request.expires_at, expires_at });
    }
    this.fill(job);
    const waits = this.places.count('queued') > 0 && this.places.stateOf(job) === 'queued';
    const queue_position = waits ? this.places.placeOf(job) : null;
    return {
      kind: 'admitted',
      job,
      lease,
      waits,
      queue_position,
      retention_ms: (request.retention ?? limits.retention) * 1000,
    };
  }

  /** Why the job, or what it reads, cannot be kept as it would have to be; null when it can. */
  private cannotKeep({ inputs, retention }: AdmitRequest, limits: AccountLimits, now: number): Unkept | null {
    if (retention !== null && retention > limits.retention) {
      return { kind: 'kept_too_long', most: limits.retention };
    }
    const brought = inputs.filter((input) => input.brought);
    if (!this.files.hasRoom(brought, now, limits.stored_bytes)) {
      return { kind: 'no_room', most: limits.stored_bytes ?? 0 };
    }
    const gone = this.assets.gone(inputs);
    return gone.length > 0 ? { kind: 'gone', assets: gone } : null;
  }

  /** What an earlier request with this key came to, without asking for anything; null: there was none. */
  findByIdempotencyKey(idempotency: Idempotency): StoredAdmission | null {
    const now = Date.now();
    const seen = this.repeats.look(idempotency, now);
    const quota = this.quotaAt(now);
    if (seen.kind === 'free') {
      return null;
    }
    return 'job' in seen
      ? { kind: 'known', job: seen.job, in_flight: seen.kind === 'in_flight', over: seen.kind === 'done', quota }
      : { kind: 'reused', quota };
  }

  /**
   * The request of an admitted job broke off. `mayExist` false: its job does not exist and this request will not make it. Nothing
   * happens where another request with the key has taken the work over, and may have made the job. Repeating it does nothing.
   */
  async cancelAdmission(job: string, mayExist: boolean, lease: number | null): Promise<void> {
    if (lease !== null && this.repeats.isTakenOver(job, lease)) {
      return;
    }
    if (mayExist) {
      this.places.giveUp(job);
      this.repeats.unlease(job);
    } else {
      this.places.leave(job);
      this.repeats.free(job);
    }
    this.fill();
    if (!mayExist) {
      await this.onJobErased(job);
    }
  }

  /** A job's place in the line, from 1; null when it is not in line, or the line is too long to be counted. Changes nothing. */
  queuePosition(job: string): number | null {
    return this.places.placeOf(job);
  }

  /** A job in line asks whether it may begin. One that the account has lost joins the line again: it exists, so it was admitted. */
  tryStart(job: string, expires_at: number): boolean {
    this.places.expire(Date.now());
    const place = this.places.stateOf(job);
    if (place === null || place === 'expired') {
      this.places.enterAgain(job, expires_at);
    }
    this.fill(job);
    return this.places.stateOf(job) === 'active';
  }

  /** Gives a job's place back and takes its cost from the budget instead of what was reserved. Repeating it does nothing. */
  releaseSlot(job: string, used: Used): void {
    const now = Date.now();
    this.together(() => {
      if (this.places.leave(job)) {
        this.spend.add(used, now);
      }
      this.repeats.finish(job);
      this.assets.over(job, this.assetExpiry(now));
      this.places.expire(now);
      this.fill();
    });
  }

  /** A job is erased: inputs that came with jobs, and that no other job uses, go with it. Repeating it does nothing. */
  async onJobErased(job: string): Promise<void> {
    const now = Date.now();
    await this.sweptLater(now, this.files.forgetJob(job, now));
  }

  /**
   * Notes a file that was put into R2 or found there, for as long as the account keeps assets. `uploaded`: a client sent it as an
   * asset; else it goes with the jobs that use it. `created`: it was put for this. `again`: it was being deleted meanwhile, and is to be
   * put once more. `full`: the account has no room for it.
   */
  async recordAsset(
    account: string,
    file: StoredFile,
    how: { uploaded: boolean; created: boolean },
  ): Promise<Asset | 'again' | 'full'> {
    this.files.belongTo(account);
    const now = Date.now();
    const times = { now, expires_at: this.assetExpiry(now) };
    return this.sweptLater(now, this.files.keep(file, how, times, this.limits().stored_bytes));
  }

  /** Notes files that R2 has and the account does not know: those of an older gateway, or of one that died in between. */
  recordFoundAssets(account: string, files: readonly StoredFile[]): void {
    this.files.belongTo(account);
    const now = Date.now();
    for (const file of files) {
      if (!this.assets.isDoomed(file.sha256) && this.assets.find(file.sha256) === null) {
        this.assets.keep(file, true, this.assetExpiry(now));
      }
    }
    this.setAlarm(now);
  }

  asset(sha256: string): Asset | null {
    return this.assets.find(sha256);
  }

  /** Newest first, from behind `before` (the place of the last one seen). */
  listAssets(limit: number, before: string | null): (Asset & { place: string })[] {
    return this.assets.list(limit, before);
  }

  /** Deletes an asset, unless an unfinished job reads it. */
  async deleteAsset(sha256: string): Promise<'removed' | 'not_found' | 'in_use'> {
    const now = Date.now();
    return this.sweptLater(now, this.files.remove(sha256, now));
  }

  /** Lets go of files that came with a request that was refused. */
  async deleteOrphans(hashes: readonly string[]): Promise<void> {
    const now = Date.now();
    await this.sweptLater(now, this.files.giveUpLoose(hashes, now));
  }

  /** An upload of this file: the one that is under way, or a new one, if the account may have one more and has room for it. */
  beginUpload(account: string, wanted: NewUpload): Upload | 'too_many' | 'full' {
    this.files.belongTo(account);
    const now = Date.now();
    const most = { uploads: requireConfig(this.env).limits.max_open_uploads, bytes: this.limits().stored_bytes };
    const upload = this.files.beginUpload(wanted, { now, life_ms: this.uploadLife() }, most);
    this.setAlarm(now);
    return upload;
  }

  /** The upload, whose time begins anew; null when there is none, or no longer. */
  upload(id: string): Upload | null {
    return this.uploads.find(id, Date.now(), this.uploadLife());
  }

  /** Says how an upload ended. Repeating it does nothing. */
  endUpload(id: string, status: 'stored' | 'closed'): void {
    const now = Date.now();
    this.uploads.end(id, status, now);
    this.setAlarm(now);
  }

  /** Sweeps what has expired. Whatever fails is tried again: the platform would give up after six times. */
  override async alarm(): Promise<void> {
    this.alarmAt = null;
    try {
      await this.files.sweep(Date.now());
    } catch (error) {
      consoleLog({ event: 'asset_sweep_failed', detail: errorMessage(error) });
    }
    this.setAlarm(Date.now());
  }

  /** What is left of the limits. Changes nothing. */
  quota(): Quota {
    return this.quotaAt(Date.now());
  }

  /** The account's own limits instead of the configured ones; a limit that is not given is as configured. */
  setLimits(own: OwnLimits): AccountLimits {
    this.own.set(own);
    this.fill();
    return this.limits();
  }

  /** The limits that hold for this account. */
  limits(): AccountLimits {
    return this.own.of(requireConfig(this.env));
  }

  private assetExpiry(now: number): number {
    return now + this.limits().asset_retention * 1000;
  }

  private uploadLife(): number {
    return requireConfig(this.env).policy.upload_retention * 1000;
  }

  /** Work on files. Whether it succeeds or not, a sweep takes care of what it leaves. */
  private async sweptLater<T>(now: number, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } finally {
      this.setAlarm(now);
    }
  }

  /** Sets the alarm to the next sweep, if that is earlier than what it is set to. */
  private setAlarm(now: number): void {
    const at = this.files.nextSweep(now);
    if (at !== null && (this.alarmAt === null || at < this.alarmAt)) {
      this.alarmAt = at;
      void this.ctx.storage.setAlarm(at);
    }
  }

  /** All of it or nothing; what is counted on the heap too. */
  private together<T>(work: () => T): T {
    try {
      return this.ctx.storage.transactionSync(work);
    } catch (error) {
      this.places.recount();
      this.submits.recount();
      throw error;
    }
  }

  private quotaAt(now: number): Quota {
    return quotaOf(this.limits(), this.fillAt(now), now);
  }

  private fillAt(now: number): Fill {
    return {
      submits: this.submits.count(now),
      active: this.places.count('active'),
      queued: this.places.count('queued'),
    };
  }

  /**
   * Lets in whom there is room for, and tells them, except `self`, which is told by the answer. A job that could not be told, or does
   * not exist yet, asks by itself.
   */
  private fill(self?: string): void {
    const admitted = this.places.fill(this.limits().jobs_in_flight).filter((job) => job !== self);
    if (admitted.length > 0) {
      this.ctx.waitUntil(Promise.all(admitted.map((job) => this.tell(job))));
    }
  }

  private async tell(job: string): Promise<void> {
    try {
      await this.env.JOB.getByName(job).onAdmitted();
    } catch (error) {
      consoleLog({ event: 'admission_untold', job, detail: errorMessage(error) });
    }
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
