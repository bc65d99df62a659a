import { z } from 'zod';

/** Table `audit`: who changed what. An entry is written in one transaction with its change. */

const ACTORS = ['key', 'operator', 'secret'] as const;

const auditRow = z.object({
  id: z.string(),
  account: z.string(),
  at: z.number(),
  actor: z.enum(ACTORS),
  actor_key: z.string().nullable(),
  action: z.string(),
  target: z.string(),
  request_id: z.string(),
  changes: z
    .string()
    .transform((text): unknown => JSON.parse(text))
    .pipe(z.record(z.string(), z.unknown())),
});

/** One entry. `at` is in ms since the epoch. `changes` contains no secret and no hash. */
export type AuditEntry = z.infer<typeof auditRow>;

const INSERT = 'INSERT INTO audit (id, account, at, actor, actor_key, action, target, request_id, changes)';

const valuesOf = (entry: AuditEntry) => [
  entry.id,
  entry.account,
  entry.at,
  entry.actor,
  entry.actor_key,
  entry.action,
  entry.target,
  entry.request_id,
  JSON.stringify(entry.changes),
];

/**
 * The most entries (`most`) that an account may have with ids from `since` on. A change beyond the limit is rejected.
 */
export type AuditRoom = { since: string; limit: number };

/**
 * SQL that is true while an account is below its limit of entries. It is part of the statement that makes the change,
 * so that concurrent calls cannot exceed the limit together.
 */
export const auditHasRoom = (account: string, since: string, limit: string): string =>
  `(SELECT count(*) FROM (SELECT 1 FROM audit WHERE audit.account = ${account} AND audit.id >= ${since} LIMIT ${limit})) < ${limit}`;

/** Returns the time of the account's `n`th newest entry, in ms; null when it has fewer. */
export const nthNewestAudit = (db: D1Database, account: string, n: number): Promise<number | null> =>
  db
    .prepare('SELECT at FROM audit WHERE account = ? ORDER BY id DESC LIMIT 1 OFFSET ?')
    .bind(account, n - 1)
    .first<number>('at');

/** Removes at most `limit` entries with ids below `before`, the oldest first. Returns their number. */
export async function deleteOldAudit(db: D1Database, before: string, limit: number): Promise<number> {
  const { meta } = await db
    .prepare('DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ? ORDER BY id LIMIT ?)')
    .bind(before, limit)
    .run();
  return meta.changes;
}

/** For a batch, directly after the change: writes the entry if that statement changed a row. */
export const auditIfChanged = (db: D1Database, entry: AuditEntry): D1PreparedStatement =>
  db.prepare(`${INSERT} SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE changes() > 0`).bind(...valuesOf(entry));

/** Writes the entry of a change outside D1, such as a limit in the Account object. */
export async function insertAudit(db: D1Database, entry: AuditEntry): Promise<void> {
  await db
    .prepare(`${INSERT} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
    .bind(...valuesOf(entry))
    .run();
}

/** Lists entries of one account or of all, newest first. `before`: the last id of the previous page. */
export async function listAudit(
  db: D1Database,
  account: string | null,
  page: { limit: number; before: string | null },
): Promise<AuditEntry[]> {
  const { results } = await db
    .prepare(
      `SELECT * FROM audit WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3`,
    )
    .bind(account, page.before, page.limit)
    .all();
  return results.map((row) => auditRow.parse(row));
}
