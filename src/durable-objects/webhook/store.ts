import type {
  DeliveryAttempt,
  DeliveryStatus,
  DeliveryView,
  WebhookEvent,
  WebhookEventType,
  WebhookView,
} from '../../contract/webhook.ts';
import type { Health, Next } from '../../domain/webhook/schedule.ts';
import type { Secret } from '../../domain/webhook/secret.ts';
import { applySchema, type Schema } from '../shared/schema.ts';
import { storedJson } from '../../lib/stored-json.ts';

/**
 * All SQL of the Webhook object. Times are ms since the epoch. Every table is described in docs/reference/storage.md.
 */

const SCHEMA: Schema = [
  `
-- One row: the webhook's state as JSON.
CREATE TABLE webhook (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL);
-- Queue and log in one: a pending delivery is due at \`due_at\`, a finished one is kept for 14 days. \`n\`: order of
-- arrival. \`tries\`: attempts since it was last queued. \`leased\`: it is being sent. \`attempts\`: JSON array of the
-- last ones.
CREATE TABLE deliveries (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, job TEXT, body TEXT NOT NULL,
  status TEXT NOT NULL, created_at INTEGER NOT NULL, due_at INTEGER, tries INTEGER NOT NULL, leased INTEGER NOT NULL,
  attempts TEXT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_age ON deliveries (created_at);
`,
];

/** Attempts of one delivery that are kept: three whole schedules. */
const MAX_ATTEMPTS_KEPT = 30;
/**
 * The most deliveries that are kept. At 20 KB each they fill a fifth of the object's 10 GB (reference/cloudflare.md
 * section 2).
 */
const MAX_KEPT = 100_000;

/** The state of a webhook, stored as one JSON value. */
export type WebhookState = {
  readonly id: string;
  readonly account: string;
  readonly created_at: number;
  url: string;
  description: string;
  events: WebhookEventType[];
  enabled: boolean;
  disabled: WebhookView['disabled'];
  health: Health;
  secrets: Secret[];
  updated_at: number;
  /** Counts the changes of what D1 lists. */
  version: number;
  /** A change to write to D1 (`project`), and to send to the account's other webhooks (`notice`). Due at `due_at`. */
  pending_notification: { project: boolean; notice: boolean; due_at: number } | null;
  /** Calls of the owner that sent deliveries since `since`; absent when there were none. */
  sends?: { since: number; count: number };
};

export type DueDelivery = { id: string; type: string; body: string; tries: number };

type Row = {
  n: number;
  id: string;
  type: string;
  job: string | null;
  body: string;
  status: string;
  created_at: number;
  due_at: number | null;
  attempts: string;
};

/** Only this file writes it. */
const attemptsOf = (text: string): DeliveryAttempt[] => storedJson<DeliveryAttempt[]>(text);

const viewOf = (row: Row): DeliveryView & { n: number } => ({
  n: row.n,
  id: row.id,
  type: row.type,
  job: row.job,
  status: row.status as DeliveryStatus,
  created_at: row.created_at,
  next_attempt_at: row.due_at,
  attempts: attemptsOf(row.attempts),
  body: row.body,
});

/** The webhook and its deliveries in SQLite. */
export class WebhookStore {
  private readonly storage: DurableObjectStorage;
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
  }

  /** The state, or null when no webhook was created. Creates nothing. */
  load(): WebhookState | null {
    if (this.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'webhook'").toArray().length === 0) {
      return null;
    }
    applySchema(this.storage, SCHEMA);
    const row = this.sql.exec<{ state: string }>('SELECT state FROM webhook').toArray()[0];
    return row === undefined ? null : storedJson<WebhookState>(row.state);
  }

  create(state: WebhookState): void {
    this.storage.transactionSync(() => {
      applySchema(this.storage, SCHEMA);
      this.sql.exec('INSERT INTO webhook (one, state) VALUES (1, ?)', JSON.stringify(state));
    });
  }

  save(state: WebhookState): void {
    this.sql.exec('UPDATE webhook SET state = ?', JSON.stringify(state));
  }

  /** Queues an event. A known event changes nothing. */
  add(event: WebhookEvent, now: number): void {
    this.sql.exec(
      `INSERT INTO deliveries (id, type, job, body, status, created_at, due_at, tries, leased, attempts)
       VALUES (?, ?, ?, ?, 'pending', ?, ?, 0, 0, '[]') ON CONFLICT (id) DO NOTHING`,
      event.id,
      event.type,
      event.job,
      event.body,
      now,
      now,
    );
    this.sql.exec('DELETE FROM deliveries WHERE n <= (SELECT max(n) FROM deliveries) - ?', MAX_KEPT);
  }

  due(now: number, limit: number): DueDelivery[] {
    return this.sql
      .exec<DueDelivery>(
        'SELECT id, type, body, tries FROM deliveries WHERE due_at <= ? ORDER BY due_at, n LIMIT ?',
        now,
        limit,
      )
      .toArray();
  }

  /** When the next delivery is due; null without pending deliveries. */
  nextDue(): number | null {
    return this.sql
      .exec<{ at: number | null }>('SELECT min(due_at) AS at FROM deliveries WHERE due_at IS NOT NULL')
      .one().at;
  }

  /** Leases a delivery that is being sent. It is due again at `until`. */
  lease(id: string, until: number): void {
    this.sql.exec('UPDATE deliveries SET leased = 1, due_at = ? WHERE id = ?', until, id);
  }

  /** Makes the deliveries due that an earlier instance was sending. True when there were any. */
  dropLeases(now: number): boolean {
    return this.sql.exec('UPDATE deliveries SET leased = 0, due_at = ? WHERE leased = 1', now).rowsWritten > 0;
  }

  /** Records an attempt and what follows from it. */
  record(id: string, attempt: Omit<DeliveryAttempt, 'number'>, next: Next): void {
    const row = this.sql.exec<{ attempts: string }>('SELECT attempts FROM deliveries WHERE id = ?', id).toArray()[0];
    if (row === undefined) {
      return;
    }
    const before = attemptsOf(row.attempts);
    const attempts = [...before, { number: (before.at(-1)?.number ?? 0) + 1, ...attempt }].slice(-MAX_ATTEMPTS_KEPT);
    this.sql.exec(
      'UPDATE deliveries SET status = ?, due_at = ?, leased = 0, tries = tries + 1, attempts = ? WHERE id = ?',
      next.status,
      next.status === 'pending' ? next.due_at : null,
      JSON.stringify(attempts),
      id,
    );
  }

  /**
   * Gives all events of a job another body. Found by their ids, which begin with the job's (domain/webhook/payload.ts).
   */
  rewriteJob(job: string, rewrite: (body: string) => string): void {
    const rows = this.sql
      .exec<{ id: string; body: string }>(
        // `\`` is the character after `_`.
        'SELECT id, body FROM deliveries WHERE id >= ? AND id < ?',
        `evt_${job}_`,
        `evt_${job}\``,
      )
      .toArray();
    this.storage.transactionSync(() => {
      for (const { id, body } of rows) {
        this.sql.exec('UPDATE deliveries SET body = ? WHERE id = ?', rewrite(body), id);
      }
    });
  }

  delivery(id: string): DeliveryView | null {
    const row = this.sql.exec<Row>('SELECT * FROM deliveries WHERE id = ?', id).toArray()[0];
    return row === undefined ? null : viewOf(row);
  }

  /** Newest first. `before`: the `n` of the last one seen. */
  deliveries(page: {
    limit: number;
    before: number | null;
    status: DeliveryStatus | null;
  }): (DeliveryView & { n: number })[] {
    return this.sql
      .exec<Row>(
        'SELECT * FROM deliveries WHERE n < ? AND (? IS NULL OR status = ?) ORDER BY n DESC LIMIT ?',
        page.before ?? Number.MAX_SAFE_INTEGER,
        page.status,
        page.status,
        page.limit,
      )
      .toArray()
      .map(viewOf);
  }

  /** Queues a delivery again, unless it is being sent. */
  requeue(id: string, now: number): void {
    this.sql.exec(
      "UPDATE deliveries SET status = 'pending', due_at = ?, tries = 0 WHERE id = ? AND leased = 0",
      now,
      id,
    );
  }

  /**
   * Queues all deliveries again that arrived from `since` until before `until` and have this status. Returns their
   * number.
   */
  requeueRange(range: { since: number; until: number; status: DeliveryStatus | null }, now: number): number {
    return this.sql
      .exec<{ id: string }>(
        `UPDATE deliveries SET status = 'pending', due_at = ?, tries = 0
         WHERE created_at >= ? AND created_at < ? AND leased = 0 AND (? IS NULL OR status = ?) RETURNING id`,
        now,
        range.since,
        range.until,
        range.status,
        range.status,
      )
      .toArray().length;
  }

  /** Deletes deliveries that arrived before this time; pending ones only if `pending` is true. */
  prune(before: number, pending: boolean): void {
    this.sql.exec(
      `DELETE FROM deliveries WHERE created_at < ? AND leased = 0 ${pending ? '' : "AND status != 'pending'"}`,
      before,
    );
  }

  /** When the oldest finished delivery arrived; null when there is none. */
  oldest(): number | null {
    return this.sql
      .exec<{ at: number | null }>("SELECT min(created_at) AS at FROM deliveries WHERE status != 'pending'")
      .one().at;
  }
}
