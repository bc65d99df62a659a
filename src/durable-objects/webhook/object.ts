import { DurableObject } from 'cloudflare:workers';
import { requireConfig } from '../../config/schema.ts';
import type { WebhookRpc } from '../../contract/rpc.ts';
import {
  MAX_SENDS_PER_HOUR,
  type DeliveryStatus,
  type DeliveryView,
  type NewWebhook,
  type PING,
  type WebhookChange,
  type WebhookEvent,
  type WebhookRefusal,
  type WebhookView,
} from '../../contract/webhook.ts';
import { disabledEvent, erasedBody } from '../../domain/webhook/payload.ts';
import { healthAfter, type Answer } from '../../domain/webhook/schedule.ts';
import { signing } from '../../domain/webhook/secret.ts';
import type { Env } from '../../env.ts';
import { consoleLog } from '../../providers/log.ts';
import { projectWebhook } from '../../storage/d1/webhooks.ts';
import { notify } from '../shared/notify.ts';
import { Sender } from './sender.ts';
import { WebhookStore, type WebhookState } from './store.ts';
import { viewOf } from './view.ts';
import { errorMessage } from '../../lib/error-message.ts';

/** Wait before D1 or the other webhooks are told again what they could not be told. */
const UNTOLD_AGAIN_MS = 30_000;
/** How long after a failure of the alarm it rings again. The platform itself would try six times, then never again. */
const ALARM_AGAIN_MS = 60_000;
/** How long a delivery stays in the log: well past the last attempt of the schedule, 90 h with all its jitter. */
export const LOG_MS = 14 * 86_400_000;
const HOUR_MS = 3_600_000;
/** Secrets that can sign at a time; a header of more would be refused by receivers. */
const MAX_SECRETS = 5;

/**
 * One object per webhook: it keeps the secrets, the queue of deliveries and their log, and owns the one alarm. A receiver that is
 * slow or dead holds up its own queue only.
 */
export class Webhook extends DurableObject<Env> implements WebhookRpc {
  private readonly store: WebhookStore;
  private state: WebhookState | null;
  private readonly sender: Sender;
  /** What the alarm is set to, as far as this instance knows; null: unknown. */
  private alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.store = new WebhookStore(ctx.storage);
    this.sender = new Sender({
      store: this.store,
      webhook: () => this.state,
      gateway: () => requireConfig(this.env).publicUrl,
      judge: (answer, sent) => this.judge(answer, sent),
    });
    this.state = this.store.load();
    if (this.state !== null && this.store.dropLeases(Date.now())) {
      this.setAlarm();
    }
  }

  /** Stores a new webhook. Durable when it returns; a second call with the same id answers the first one's. */
  create(request: NewWebhook): WebhookView {
    if (this.state === null) {
      const now = Date.now();
      const { secret, ...rest } = request;
      this.state = {
        ...rest,
        created_at: now,
        updated_at: now,
        disabled: rest.enabled ? null : byOwner(now),
        health: { failing_since: null, held_until: null },
        secrets: [{ secret, created_at: now, expires_at: null }],
        version: 1,
        untold: null,
      };
      this.store.create(this.state);
    }
    return viewOf(this.state, Date.now());
  }

  /** The webhook, or null when there is none or it is another account's. */
  view(account: string): WebhookView | null {
    return this.state?.account === account ? viewOf(this.state, Date.now()) : null;
  }

  /** Changes what is given. Turning it on forgets why it was off and sends what waits. Null as for `view`. */
  async update(account: string, change: WebhookChange): Promise<WebhookView | null> {
    const { state } = this;
    if (state?.account !== account) {
      return null;
    }
    const now = Date.now();
    if (change.url !== undefined && change.url !== state.url) {
      state.health = { failing_since: null, held_until: null };
    }
    state.url = change.url ?? state.url;
    state.description = change.description ?? state.description;
    state.events = change.events ?? state.events;
    state.enabled = change.enabled ?? state.enabled;
    if (change.enabled === true) {
      state.disabled = null;
      state.health = { failing_since: null, held_until: null };
      this.store.prune(now - LOG_MS, true);
    } else if (change.enabled === false) {
      state.disabled ??= byOwner(now);
    }
    state.updated_at = now;
    state.version += 1;
    state.untold = { notice: false, ...state.untold, project: true, due_at: now };
    this.store.save(state);
    this.setAlarm();
    // Awaited: what is listed decides who hears of the next event.
    await this.tell(state);
    this.ctx.waitUntil(this.drain());
    return viewOf(state, now);
  }

  /** Makes a new secret the first to sign; the ones before it sign along for `overlap_ms`. Null as for `view`. */
  rotateSecret(account: string, secret: string, overlap_ms: number): WebhookView | null {
    const { state } = this;
    if (state?.account !== account) {
      return null;
    }
    const now = Date.now();
    const end = now + overlap_ms;
    const older = state.secrets
      .filter((each) => each.secret !== secret)
      .map((each) => ({ ...each, expires_at: Math.min(each.expires_at ?? end, end) }));
    state.secrets = signing([{ secret, created_at: now, expires_at: null }, ...older], now).slice(0, MAX_SECRETS);
    state.updated_at = now;
    this.store.save(state);
    return viewOf(state, now);
  }

  /** Removes the webhook and all it stored. False as `view` is null. */
  async delete(account: string): Promise<boolean> {
    if (this.state?.account !== account) {
      return false;
    }
    this.state = null;
    this.alarmAt = null;
    await this.ctx.storage.deleteAll();
    return true;
  }

  /** Queues an event, if the webhook still wants it. Durable when it returns; an event it has already changes nothing. */
  enqueue(event: WebhookEvent): void {
    const { state } = this;
    if (state?.enabled !== true || !state.events.some((type) => type === event.type)) {
      return;
    }
    this.queue(event);
  }

  /** Queues an event whatever the filter says. */
  ping(account: string, event: WebhookEvent<typeof PING>): { queued: DeliveryView } | { refused: WebhookRefusal } {
    const refused = this.refusal(account);
    if (refused !== null) {
      return { refused };
    }
    if (this.store.delivery(event.id) === null) {
      const wait_ms = this.countSend(Date.now());
      if (wait_ms !== null) {
        return { refused: wait_ms };
      }
      this.queue(event);
    }
    return this.queued(event.id);
  }

  /** A page of the log, newest first; `next` continues it. Null as for `view`. */
  deliveries(
    account: string,
    page: { limit: number; before: number | null; status: DeliveryStatus | null },
  ): { deliveries: DeliveryView[]; next: number | null } | null {
    if (this.state?.account !== account) {
      return null;
    }
    const found = this.store.deliveries({ ...page, limit: page.limit + 1 });
    const deliveries = found.slice(0, page.limit);
    return { deliveries, next: found.length > page.limit ? (deliveries.at(-1)?.n ?? null) : null };
  }

  delivery(account: string, id: string): DeliveryView | null {
    return this.state?.account === account ? this.store.delivery(id) : null;
  }

  /** Sends a delivery again, with the same id and body and a whole new schedule. One under way stays as it is. */
  redeliver(account: string, id: string): { queued: DeliveryView } | { refused: WebhookRefusal } {
    const refused = this.has(account, id) ? this.refusal(account) : 'not_found';
    if (refused !== null) {
      return { refused };
    }
    this.store.again(id, Date.now());
    this.ctx.waitUntil(this.drain());
    return this.queued(id);
  }

  /** The same for all that arrived from `since` until before `until` (ms) and have this status, null for any. */
  redeliverRange(
    account: string,
    range: { since: number; until: number; status: DeliveryStatus | null },
  ): { queued: number } | { refused: WebhookRefusal } {
    const refused = this.refusal(account) ?? this.countSend(Date.now());
    if (refused !== null) {
      return { refused };
    }
    const queued = this.store.againRange(range, Date.now());
    this.ctx.waitUntil(this.drain());
    return { queued };
  }

  /** A job was erased: its events keep ids and status only. What is still to be sent is sent so. */
  onJobErased(account: string, job: string): void {
    if (this.state?.account === account) {
      this.store.rewriteJob(job, erasedBody);
    }
  }

  override async alarm(): Promise<void> {
    this.alarmAt = null;
    try {
      await this.drain();
    } catch (error) {
      consoleLog({
        event: 'alarm_failed',
        webhook: this.state?.id ?? '',
        detail: errorMessage(error),
      });
      await this.ctx.storage.setAlarm(Date.now() + ALARM_AGAIN_MS);
    }
  }

  private queue(event: WebhookEvent): void {
    this.store.add(event, Date.now());
    this.ctx.waitUntil(this.drain());
  }

  private queued(id: string): { queued: DeliveryView } | { refused: WebhookRefusal } {
    const queued = this.store.delivery(id);
    return queued === null ? { refused: 'not_found' } : { queued };
  }

  private refusal(account: string): WebhookRefusal | null {
    if (this.state?.account !== account) {
      return 'not_found';
    }
    return this.state.enabled ? null : 'disabled';
  }

  /** Counts what its owner has it send; where that is too much, in how many ms it may again. */
  private countSend(now: number): number | null {
    const { state } = this;
    if (state === null) {
      return null;
    }
    const { since, count } = state.sends ?? { since: now, count: 0 };
    const left_ms = since + HOUR_MS - now;
    const fresh = left_ms <= 0 || left_ms > HOUR_MS;
    if (!fresh && count >= MAX_SENDS_PER_HOUR) {
      return left_ms;
    }
    state.sends = fresh ? { since: now, count: 1 } : { since, count: count + 1 };
    this.store.save(state);
    return null;
  }

  private has(account: string, id: string): boolean {
    return this.state?.account === account && this.store.delivery(id) !== null;
  }

  /** Does what is due. The alarm is set before the waiting and after it: whenever this instance dies, it rings. */
  private async drain(): Promise<void> {
    const { state } = this;
    if (state === null) {
      return;
    }
    this.store.prune(Date.now() - LOG_MS, !state.enabled);
    const work = this.sender.begin();
    this.setAlarm();
    await Promise.all([...work, this.tell(state)]);
    this.setAlarm();
  }

  /** What an attempt says of the receiver's health. One sent to a URL that is no longer the webhook's says nothing. */
  private judge(answer: Answer, sent: { url: string }): void {
    const { state } = this;
    if (state === null || state.url !== sent.url) {
      return;
    }
    const now = Date.now();
    const { health, disable } = healthAfter(state.health, answer, now);
    const changed =
      health.failing_since !== state.health.failing_since || health.held_until !== state.health.held_until;
    const turned = (health.failing_since === null) !== (state.health.failing_since === null);
    state.health = health;
    if (disable !== null && state.enabled) {
      state.enabled = false;
      state.disabled = { ...disable, at: now };
      state.version += 1;
      state.untold = { project: true, notice: true, due_at: now };
      consoleLog({ event: 'webhook_disabled', webhook: state.id, account: state.account, reason: disable.reason });
      this.store.save(state);
      this.ctx.waitUntil(this.tell(state));
    } else if (turned) {
      state.version += 1;
      state.untold = { notice: false, ...state.untold, project: true, due_at: now };
      this.store.save(state);
      this.ctx.waitUntil(this.tell(state));
    } else if (changed) {
      this.store.save(state);
    }
  }

  /** Tells D1 and the account's other webhooks what they have yet to hear. At least once; what fails is tried again by the alarm. */
  private async tell(state: WebhookState): Promise<void> {
    const { untold, version, disabled } = state;
    if (untold === null || Date.now() < untold.due_at) {
      return;
    }
    untold.due_at = Date.now() + UNTOLD_AGAIN_MS;
    this.store.save(state);
    this.setAlarm();
    try {
      await projectWebhook(this.env.DB, { ...state, failing_since: state.health.failing_since });
      if (untold.notice && disabled !== null) {
        await notify(this.env, state.account, disabledEvent(state, disabled, disabled.at), { except: state.id });
      }
    } catch (error) {
      const detail = errorMessage(error);
      consoleLog({ event: 'webhook_untold', webhook: state.id, detail });
      return;
    }
    // Changed in the meantime: that is told by its own call.
    if (state.version === version && this.state !== null) {
      state.untold = null;
      this.store.save(state);
    }
  }

  private setAlarm(): void {
    const { state } = this;
    if (state === null) {
      return;
    }
    const times: number[] = [];
    const due = this.store.nextDue();
    if (due !== null && state.enabled) {
      times.push(Math.max(due, state.health.held_until ?? 0));
    }
    if (state.untold !== null) {
      times.push(state.untold.due_at);
    }
    const oldest = this.store.oldest();
    if (oldest !== null) {
      times.push(oldest + LOG_MS + 1);
    }
    // Without a time an alarm that is still set finds nothing to do.
    const at = Math.min(...times);
    if (times.length > 0 && at !== this.alarmAt) {
      this.alarmAt = at;
      void this.ctx.storage.setAlarm(at);
    }
  }
}

const byOwner = (at: number): WebhookView['disabled'] => ({
  reason: 'owner',
  at,
  detail: 'The owner disabled the webhook.',
});
