import { DurableObject } from 'cloudflare:workers';
import { breakerSchema, requireConfig, type Endpoint as EndpointConfig } from '../../config/schema.ts';
import type {
  AcquireResult,
  BreakerMode,
  CallOutcome,
  EndpointStatus,
  Health,
  Capacity,
  BreakerState,
} from '../../contract/endpoint.ts';
import type { EndpointRpc } from '../../contract/rpc.ts';
import {
  ask,
  feed,
  type Breaker,
  type BreakerEvent,
  type BreakerSettings,
  type Supply,
} from '../../domain/endpoint/circuit-breaker.ts';
import { isStarving, stageOf, supplyOf } from '../../domain/endpoint/health.ts';
import type { Env } from '../../env.ts';
import { runpodClient } from '../../providers/gpu/runpod/client.ts';
import { consoleLog } from '../../providers/log.ts';
import { EndpointStore } from './store.ts';
import { Waiting } from './waiting.ts';

/**
 * How long a reading of the provider's health stands for the truth: a thousand jobs that wait ask once between them. Far below the
 * time in which a worker starts (seconds to minutes).
 */
const FRESH_MS = 3_000;

/**
 * One object per endpoint, under its name in the configuration: the breaker that every run of the endpoint passes, and one reading
 * of its health for all who ask. It remembers and counts; `domain/endpoint` decides. A submit never waits for it.
 */
export class Endpoint extends DurableObject<Env> implements EndpointRpc {
  private readonly store: EndpointStore;
  private breaker: Breaker;
  /** The last reading of health; null when the last question had no answer, or nobody asked yet. A restart asks again. */
  private health: (Health & { at: number }) | null = null;
  private askedAt = -Infinity;
  private reading: Promise<void> | null = null;
  /** Jobs that were told to wait. On the heap only: after a restart they are back within one wait each. */
  private readonly waiting = new Waiting();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.store = new EndpointStore(ctx.storage);
    this.breaker = this.store.breaker();
  }

  /**
   * A job is about to call `/run`. It asks unless its isolate has just heard that the breaker is closed, and again each time it was
   * told to wait. `unasked`: runs that its isolate sent since it last asked; they are counted now.
   */
  acquire(job: string, unasked = 0): AcquireResult {
    const now = Date.now();
    this.store.count('sent', unasked);
    const { breaker, wait_ms } = ask(this.breaker, job, now, this.settings());
    this.keep(breaker);
    if (wait_ms === null) {
      this.waiting.leave(job);
      this.store.count('sent');
      return { kind: 'go', report: breaker.mode === 'closed' && breaker.window === null ? 'trouble' : 'all' };
    }
    // The alarm is late, or lost: it rings six times and then never again (reference/cloudflare.md section 2).
    const overdue = breaker.retry_at !== null && now >= breaker.retry_at;
    // Only health says that there are workers again, and the probe asks for none once a worker has it.
    const watched = breaker.mode === 'half_open' && breaker.cause === 'no_workers';
    if (overdue || watched) {
      this.ctx.waitUntil(this.refresh(FRESH_MS));
    }
    return { kind: 'wait', wait_ms: this.waiting.wait(job, wait_ms, now), cause: breaker.cause ?? 'failing' };
  }

  /** A job that was told to wait has gone elsewhere. */
  cancelWait(job: string): void {
    this.waiting.leave(job);
  }

  /**
   * What became of the call that this job was let through for. A success needs no telling where `ask` did not want it. Answers
   * whether runs are sent on.
   */
  reportOutcome(job: string, outcome: CallOutcome, retry_after_ms: number | null): BreakerMode {
    if (outcome !== 'ok') {
      this.store.count(outcome);
    }
    this.feed({ kind: 'run', job, outcome, retry_after_ms });
    return this.breaker.mode;
  }

  /**
   * What a run waits for that is queued here. Also for a job whose question for the status of its run had no answer: whether the
   * endpoint is at fault, its health tells.
   */
  async capacity(): Promise<Capacity> {
    await this.refresh(FRESH_MS);
    const starved = this.breaker.mode !== 'closed' && this.breaker.cause === 'no_workers';
    return { stage: this.health === null ? 'capacity' : stageOf(this.health), none: starved };
  }

  /** What can be said without asking anybody. */
  breakerState(): BreakerState {
    const { mode, cause, retry_at } = this.breaker;
    return { mode, cause, retry_at, waiting: this.waiting.count(Date.now()) };
  }

  async status(): Promise<EndpointStatus> {
    await this.refresh(FRESH_MS);
    return { ...this.breakerState(), health: this.health, counts: this.store.counts() };
  }

  /** The pause is over: health says whether a job may go ahead. */
  override async alarm(): Promise<void> {
    // An endpoint that is configured no more has nobody to ask, and no job asks for it.
    if (this.breaker.mode === 'open' && this.target() !== undefined) {
      await this.refresh(0);
      this.setAlarm();
    }
  }

  /** Asks the provider unless that was done within so many ms; whoever comes meanwhile waits for the same answer. */
  private async refresh(fresh_ms: number): Promise<void> {
    const age_ms = Date.now() - this.askedAt;
    // A clock that was set back makes no reading new.
    if (this.reading === null && (age_ms >= fresh_ms || age_ms < 0)) {
      this.reading = this.read().finally(() => {
        this.reading = null;
      });
    }
    await this.reading;
  }

  private async read(): Promise<void> {
    const target = this.target();
    if (target === undefined) {
      return;
    }
    this.askedAt = Date.now();
    const answer = await runpodClient(requireConfig(this.env).runpod).health(target.runpod_id);
    const now = Date.now();
    this.askedAt = now;
    this.health = answer.kind === 'ok' ? { ...answer.health, at: now } : null;
    this.feed({ kind: 'health', outcome: answer.kind, workers: this.supply(now) });
  }

  /** Whether there are workers, going by the reading just made and by how long there have been none. */
  private supply(now: number): Supply | null {
    const { health } = this;
    if (health === null) {
      return null;
    }
    const before = this.store.starvingSince();
    const since = isStarving(health) ? (before ?? now) : null;
    if (since !== before) {
      this.store.keepStarving(since);
    }
    return supplyOf(health, since, now, this.settings().no_workers_after_ms);
  }

  private feed(event: BreakerEvent): void {
    this.keep(feed(this.breaker, event, Date.now(), this.settings()));
  }

  private keep(breaker: Breaker): void {
    if (breaker === this.breaker) {
      return;
    }
    const { mode, cause, retry_at } = this.breaker;
    this.store.keepBreaker(this.name(), breaker);
    this.breaker = breaker;
    if (breaker.retry_at !== retry_at) {
      this.setAlarm();
    }
    if (breaker.mode !== mode || breaker.cause !== cause) {
      consoleLog({ event: 'breaker', endpoint: this.name(), mode: breaker.mode, cause: breaker.cause });
    }
  }

  private setAlarm(): void {
    const { retry_at } = this.breaker;
    void (retry_at === null ? this.ctx.storage.deleteAlarm() : this.ctx.storage.setAlarm(retry_at));
  }

  private settings(): BreakerSettings {
    const { failures, window, pause, no_workers_after } = this.target()?.breaker ?? breakerSchema.parse({});
    return {
      failures,
      window_ms: window * 1000,
      pause_ms: pause * 1000,
      no_workers_after_ms: no_workers_after * 1000,
    };
  }

  /** The endpoint as configured; undefined once it is not any more. */
  private target(): EndpointConfig | undefined {
    const { endpoints } = requireConfig(this.env);
    const name = this.name();
    return Object.hasOwn(endpoints, name) ? endpoints[name] : undefined;
  }

  private name(): string {
    return this.ctx.id.name ?? this.store.name() ?? '';
  }
}
