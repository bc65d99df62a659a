import { z } from 'zod';

/** Table `audit` (migrations/0003): who changed what. A line is written in one transaction with the change it tells of. */

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

/** One line. `at` in ms since the epoch. `changes` holds no secret and no hash. */
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

/** How many entries an account may have from the id `since` on; a change beyond that is not made. */
export type AuditRoom = { since: string; most: number };

/**
 * SQL that holds while an account has room for one more entry. Part of the statement that makes the change, so that calls at the same
 * moment cannot pass the limit together.
 */
export const auditHasRoom = (account: string, since: string, most: string): string =>
  `(SELECT count(*) FROM (SELECT 1 FROM audit WHERE audit.account = ${account} AND audit.id >= ${since} LIMIT ${most})) < ${most}`;

/** When the account's `n`th newest entry was made, in ms; null when it has fewer. */
export const nthNewestAudit = (db: D1Database, account: string, n: number): Promise<number | null> =>
  db
    .prepare('SELECT at FROM audit WHERE account = ? ORDER BY id DESC LIMIT 1 OFFSET ?')
    .bind(account, n - 1)
    .first<number>('at');

/** Removes entries with smaller ids than `before`, the oldest first, at most `limit` of them. Answers how many. */
export async function forgetAudit(db: D1Database, before: string, limit: number): Promise<number> {
  const { meta } = await db
    .prepare('DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ? ORDER BY id LIMIT ?)')
    .bind(before, limit)
    .run();
  return meta.changes;
}

/** For a batch, right after the change: writes the line if that statement changed a row. */
export const auditIfChanged = (db: D1Database, entry: AuditEntry): D1PreparedStatement =>
  db.prepare(`${INSERT} SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE changes() > 0`).bind(...valuesOf(entry));

/** For a change that is not in D1, such as a limit in the Account object. */
export async function insertAudit(db: D1Database, entry: AuditEntry): Promise<void> {
  await db
    .prepare(`${INSERT} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
    .bind(...valuesOf(entry))
    .run();
}

/** Lines of an account, or of all, newest first; `before` (an id) continues after the last one seen. */
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
