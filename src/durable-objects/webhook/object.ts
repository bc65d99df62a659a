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
import { Alarm } from '../shared/alarm.ts';
import { notifyWebhooks } from '../shared/notify.ts';
import { Sender } from './sender.ts';
import { WebhookStore, type WebhookState } from './store.ts';
import { viewOf } from './view.ts';
import { errorMessage } from '../../lib/error-message.ts';

/** Wait before a failed notification of D1 or of the account's other webhooks is sent again. */
const NOTIFY_RETRY_MS = 30_000;
/** How long a delivery is kept in the log: well past the last attempt of the schedule, 90 h with all its jitter. */
export const LOG_MS = 14 * 86_400_000;
const HOUR_MS = 3_600_000;
/** Secrets that can sign at a time; a header of more would be refused by receivers. */
const MAX_SECRETS = 5;

/**
 * One object per webhook. It keeps the secrets, the queue of deliveries and their log, and owns the one alarm. A
 * receiver that is slow or down delays its own queue only.
 *
 * Concurrency: up to five deliveries are sent at a time. A delivery is leased before its POST, and one that a crash
 * interrupted is due again, so each event is sent at least once, with the same id and body.
 *
 * Storage (SQLite, docs/reference/storage.md): one row of `webhook` has the state as JSON; `deliveries` is queue and
 * log in one. Changes that D1 and the account's other webhooks still need are in the state (`pending_notification`)
 * until they have been sent.
 */
export class Webhook extends DurableObject<Env> implements WebhookRpc {
  private readonly store: WebhookStore;
  private state: WebhookState | null;
  private readonly sender: Sender;
  private readonly nextAlarm: Alarm;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.nextAlarm = new Alarm(ctx.storage);
    this.store = new WebhookStore(ctx.storage);
    this.sender = new Sender({
      store: this.store,
      webhook: () => this.state,
      gateway: () => requireConfig(this.env).publicUrl,
      onAttempt: (answer, sent) => this.onAttempt(answer, sent),
    });
    this.state = this.store.load();
    if (this.state !== null && this.store.dropLeases(Date.now())) {
      this.setAlarm();
    }
  }

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
        pending_notification: null,
      };
      this.store.create(this.state);
    }
    return viewOf(this.state, Date.now());
  }

  view(account: string): WebhookView | null {
    return this.state?.account === account ? viewOf(this.state, Date.now()) : null;
  }

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
    state.pending_notification = { notice: false, ...state.pending_notification, project: true, due_at: now };
    this.store.save(state);
    this.setAlarm();
    // Awaited, because the list in D1 decides which webhooks get the next event.
    await this.sendNotification(state);
    this.ctx.waitUntil(this.drain());
    return viewOf(state, now);
  }

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

  async delete(account: string): Promise<boolean> {
    if (this.state?.account !== account) {
      return false;
    }
    this.state = null;
    this.nextAlarm.clear();
    await this.ctx.storage.deleteAll();
    return true;
  }

  enqueue(event: WebhookEvent): void {
    const { state } = this;
    if (state?.enabled !== true || !state.events.some((type) => type === event.type)) {
      return;
    }
    this.queue(event);
  }

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

  redeliver(account: string, id: string): { queued: DeliveryView } | { refused: WebhookRefusal } {
    const refused = this.has(account, id) ? this.refusal(account) : 'not_found';
    if (refused !== null) {
      return { refused };
    }
    this.store.requeue(id, Date.now());
    this.ctx.waitUntil(this.drain());
    return this.queued(id);
  }

  redeliverRange(
    account: string,
    range: { since: number; until: number; status: DeliveryStatus | null },
  ): { queued: number } | { refused: WebhookRefusal } {
    const refused = this.refusal(account) ?? this.countSend(Date.now());
    if (refused !== null) {
      return { refused };
    }
    const queued = this.store.requeueRange(range, Date.now());
    this.ctx.waitUntil(this.drain());
    return { queued };
  }

  onJobErased(account: string, job: string): void {
    if (this.state?.account === account) {
      this.store.rewriteJob(job, erasedBody);
    }
  }

  override alarm(): Promise<void> {
    return this.nextAlarm.run({ webhook: this.state?.id ?? '' }, () => this.drain());
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

  /** Counts a call that sends deliveries. Null, or the ms to wait when `MAX_SENDS_PER_HOUR` is reached. */
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

  /** Sends what is due. Sets the alarm before and after it awaits that, so that it rings if this instance dies. */
  private async drain(): Promise<void> {
    const { state } = this;
    if (state === null) {
      return;
    }
    this.store.prune(Date.now() - LOG_MS, !state.enabled);
    const work = this.sender.begin();
    this.setAlarm();
    await Promise.all([...work, this.sendNotification(state)]);
    this.setAlarm();
  }

  /** Updates the receiver's health after an attempt. Ignores an attempt that was sent to an earlier URL. */
  private onAttempt(answer: Answer, sent: { url: string }): void {
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
      state.pending_notification = { project: true, notice: true, due_at: now };
      consoleLog({ event: 'webhook_disabled', webhook: state.id, account: state.account, reason: disable.reason });
      this.store.save(state);
      this.ctx.waitUntil(this.sendNotification(state));
    } else if (turned) {
      state.version += 1;
      state.pending_notification = { notice: false, ...state.pending_notification, project: true, due_at: now };
      this.store.save(state);
      this.ctx.waitUntil(this.sendNotification(state));
    } else if (changed) {
      this.store.save(state);
    }
  }

  /**
   * Sends the pending notification to D1 and the account's other webhooks, at least once. The alarm retries a failure.
   */
  private async sendNotification(state: WebhookState): Promise<void> {
    const { pending_notification, version, disabled } = state;
    if (pending_notification === null || Date.now() < pending_notification.due_at) {
      return;
    }
    pending_notification.due_at = Date.now() + NOTIFY_RETRY_MS;
    this.store.save(state);
    this.setAlarm();
    try {
      await projectWebhook(this.env.DB, { ...state, failing_since: state.health.failing_since });
      if (pending_notification.notice && disabled !== null) {
        await notifyWebhooks(this.env, state.account, disabledEvent(state, disabled, disabled.at), {
          except: state.id,
        });
      }
    } catch (error) {
      const detail = errorMessage(error);
      consoleLog({ event: 'webhook_notify_failed', webhook: state.id, detail });
      return;
    }
    // A change in the meantime is sent by its own call.
    if (state.version === version && this.state !== null) {
      state.pending_notification = null;
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
    if (state.pending_notification !== null) {
      times.push(state.pending_notification.due_at);
    }
    const oldest = this.store.oldest();
    if (oldest !== null) {
      times.push(oldest + LOG_MS + 1);
    }
    // Without a time, an alarm that is still set finds nothing to do.
    if (times.length > 0) {
      this.nextAlarm.setAt(Math.min(...times));
    }
  }
}

const byOwner = (at: number): WebhookView['disabled'] => ({
  reason: 'owner',
  at,
  detail: 'The owner disabled the webhook.',
});
