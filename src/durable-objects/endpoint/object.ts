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
import { Backlog } from './waiting.ts';

/**
 * How long a reading of the provider's health is used, so that a thousand waiting jobs poll it once. A worker takes
 * seconds to minutes to start.
 */
const FRESH_MS = 3_000;

/**
 * One object per endpoint, by its name in the configuration. It holds the circuit breaker that all runs of the endpoint
 * pass, and one reading of the provider's health for all callers. `domain/endpoint` has the rules. A submit never waits
 * for it.
 *
 * Storage (SQLite, docs/reference/storage.md): `breaker`, `no_workers_since` and `counts`. Health and the waiting jobs
 * are on the heap only. The alarm is set while the breaker is open.
 */
export class Endpoint extends DurableObject<Env> implements EndpointRpc {
  private readonly store: EndpointStore;
  private breaker: Breaker;
  /** The last reading of health; null when the last poll failed or there was none. A restart polls again. */
  private health: (Health & { at: number }) | null = null;
  private askedAt = -Infinity;
  private refreshing: Promise<void> | null = null;
  /** The waiting jobs. On the heap only: after a restart each asks again within its wait. */
  private readonly backlog = new Backlog();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.store = new EndpointStore(ctx.storage);
    this.breaker = this.store.breaker();
  }

  acquire(job: string, unasked = 0): AcquireResult {
    const now = Date.now();
    this.store.count('sent', unasked);
    const { breaker, wait_ms } = ask(this.breaker, job, now, this.settings());
    this.setBreaker(breaker);
    if (wait_ms === null) {
      this.backlog.remove(job);
      this.store.count('sent');
      return { kind: 'go', report: breaker.mode === 'closed' && breaker.window === null ? 'trouble' : 'all' };
    }
    // The alarm is late or lost: the platform retries it six times (reference/cloudflare.md section 2).
    const overdue = breaker.retry_at !== null && now >= breaker.retry_at;
    // Only health tells that there are workers again, since the probe job stops asking once a worker has it.
    const watched = breaker.mode === 'half_open' && breaker.cause === 'no_workers';
    if (overdue || watched) {
      this.ctx.waitUntil(this.refresh(FRESH_MS));
    }
    return { kind: 'wait', wait_ms: this.backlog.add(job, wait_ms, now), cause: breaker.cause ?? 'failing' };
  }

  cancelWait(job: string): void {
    this.backlog.remove(job);
  }

  reportOutcome(job: string, outcome: CallOutcome, retry_after_ms: number | null): BreakerMode {
    if (outcome !== 'ok') {
      this.store.count(outcome);
    }
    this.feed({ kind: 'run', job, outcome, retry_after_ms });
    return this.breaker.mode;
  }

  async capacity(): Promise<Capacity> {
    await this.refresh(FRESH_MS);
    const starved = this.breaker.mode !== 'closed' && this.breaker.cause === 'no_workers';
    return { stage: this.health === null ? 'capacity' : stageOf(this.health), no_workers: starved };
  }

  breakerState(): BreakerState {
    const { mode, cause, retry_at } = this.breaker;
    return { mode, cause, retry_at, waiting: this.backlog.count(Date.now()) };
  }

  async status(): Promise<EndpointStatus> {
    await this.refresh(FRESH_MS);
    return { ...this.breakerState(), health: this.health, counts: this.store.counts() };
  }

  /** The pause has ended: health decides whether a job may be sent. */
  override async alarm(): Promise<void> {
    // An endpoint that is no longer configured cannot be polled, and no job needs it.
    if (this.breaker.mode === 'open' && this.configured() !== undefined) {
      await this.refresh(0);
      this.setAlarm();
    }
  }

  /** Polls the provider, unless the last poll is younger than `fresh_ms`. Concurrent callers share one poll. */
  private async refresh(fresh_ms: number): Promise<void> {
    const age_ms = Date.now() - this.askedAt;
    // After the clock was set back, the age is negative and the reading is not fresh.
    if (this.refreshing === null && (age_ms >= fresh_ms || age_ms < 0)) {
      this.refreshing = this.read().finally(() => {
        this.refreshing = null;
      });
    }
    await this.refreshing;
  }

  private async read(): Promise<void> {
    const target = this.configured();
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

  /** Whether there are workers, from the current reading and from how long there have been none. */
  private supply(now: number): Supply | null {
    const { health } = this;
    if (health === null) {
      return null;
    }
    const before = this.store.noWorkersSince();
    const since = isStarving(health) ? (before ?? now) : null;
    if (since !== before) {
      this.store.saveNoWorkersSince(since);
    }
    return supplyOf(health, since, now, this.settings().no_workers_after_ms);
  }

  private feed(event: BreakerEvent): void {
    this.setBreaker(feed(this.breaker, event, Date.now(), this.settings()));
  }

  private setBreaker(breaker: Breaker): void {
    if (breaker === this.breaker) {
      return;
    }
    const { mode, cause, retry_at } = this.breaker;
    this.store.saveBreaker(this.name(), breaker);
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
    const { failures, window, pause, no_workers_after } = this.configured()?.breaker ?? breakerSchema.parse({});
    return {
      failures,
      window_ms: window * 1000,
      pause_ms: pause * 1000,
      no_workers_after_ms: no_workers_after * 1000,
    };
  }

  /** The endpoint's configuration; undefined when it is no longer configured. */
  private configured(): EndpointConfig | undefined {
    const { endpoints } = requireConfig(this.env);
    const name = this.name();
    return Object.hasOwn(endpoints, name) ? endpoints[name] : undefined;
  }

  private name(): string {
    return this.ctx.id.name ?? this.store.name() ?? '';
  }
}
