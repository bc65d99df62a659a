import { z } from 'zod';
import type { WebhookEventType, WebhookView } from '../../contract/webhook.ts';

/** Table `webhooks`: the webhooks of an account and their event filters. */

/** A webhook in a list. `version` counts its changes. */
export type WebhookRow = Pick<WebhookView, 'id' | 'account' | 'url' | 'events' | 'enabled' | 'created_at'> & {
  version: number;
  /** When its receiver began to reject deliveries; null while it accepts them. */
  failing_since: number | null;
};

const idRow = z.object({ id: z.string() });

/**
 * Inserts a webhook, unless the account already has `max`. One statement, so concurrent calls cannot exceed the limit
 * together.
 */
export async function insertWebhook(db: D1Database, webhook: WebhookRow, max: number): Promise<boolean> {
  const { meta } = await db
    .prepare(
      `INSERT INTO webhooks (id, account, url, events, enabled, created_at, version)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE (SELECT count(*) FROM webhooks WHERE account = ?2) < ?8`,
    )
    .bind(
      webhook.id,
      webhook.account,
      webhook.url,
      JSON.stringify(webhook.events),
      webhook.enabled ? 1 : 0,
      webhook.created_at,
      webhook.version,
      max,
    )
    .run();
  return meta.changes > 0;
}

/** Updates a webhook's row. Never restores a deleted webhook. */
export async function projectWebhook(db: D1Database, webhook: WebhookRow): Promise<void> {
  await db
    .prepare(
      'UPDATE webhooks SET url = ?2, events = ?3, enabled = ?4, version = ?5, failing_since = ?6 WHERE id = ?1 AND version < ?5',
    )
    .bind(
      webhook.id,
      webhook.url,
      JSON.stringify(webhook.events),
      webhook.enabled ? 1 : 0,
      webhook.version,
      webhook.failing_since,
    )
    .run();
}

/** Returns the ids of an account's webhooks, newest first. */
export async function webhooksOf(db: D1Database, account: string): Promise<string[]> {
  const { results } = await db
    .prepare('SELECT id FROM webhooks WHERE account = ? ORDER BY id DESC')
    .bind(account)
    .all();
  return results.map((each) => idRow.parse(each).id);
}

/** Makes the query for an account's enabled webhooks that receive this type of event. `idsOf` reads its result. */
export const webhooksSubscribedTo = (db: D1Database, account: string, type: WebhookEventType): D1PreparedStatement =>
  db
    .prepare(
      `SELECT id FROM webhooks WHERE account = ?1 AND enabled = 1
       AND EXISTS (SELECT 1 FROM json_each(webhooks.events) WHERE value = ?2)`,
    )
    .bind(account, type);

/** Reads the ids from the result of a `webhooksSubscribedTo` query. */
export const idsOf = (answer: D1Result | undefined): string[] =>
  (answer?.results ?? []).map((each) => idRow.parse(each).id);

export async function deleteWebhook(db: D1Database, account: string, id: string): Promise<void> {
  await db.prepare('DELETE FROM webhooks WHERE id = ? AND account = ?').bind(id, account).run();
}
