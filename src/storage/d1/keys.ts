import { z } from 'zod';
import { nodePolicySchema } from '../../config/schema.ts';
import { auditHasRoom, auditIfChanged, type AuditEntry, type AuditRoom } from './audit.ts';

/** All queries on the table `keys`. Each change is written together with its audit entry. */

/** Parses JSON that only this file writes. */
const json = (text: string): unknown => JSON.parse(text);
const jsonOf = <T extends z.ZodType>(schema: T) => z.string().transform(json).pipe(schema);
const list = jsonOf(z.array(z.string()));

const keyRow = z.object({
  id: z.string(),
  account: z.string(),
  environment: z.enum(['live', 'test']),
  name: z.string(),
  hint: z.string(),
  scopes: list,
  expires_at: z.number().nullable(),
  ip_allow: list.nullable(),
  endpoints: list.nullable(),
  templates: list.nullable(),
  nodes: jsonOf(nodePolicySchema).nullable(),
  created_at: z.number(),
  last_used_at: z.number().nullable(),
  rotated_at: z.number().nullable(),
  previous_expires_at: z.number().nullable(),
  revoked_at: z.number().nullable(),
});

const tagsRow = z.object({ newest: z.string(), previous: z.string().nullable() });

/** A key without its secrets. Times are in ms since the epoch. */
export type KeyRecord = z.infer<typeof keyRow>;
/** The fields that `PATCH` may change. */
export type KeyFields = Pick<
  KeyRecord,
  'name' | 'scopes' | 'expires_at' | 'ip_allow' | 'endpoints' | 'templates' | 'nodes'
>;

const COLUMNS = Object.keys(keyRow.shape).join(', ');
const jsonOrNull = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));

/** Inserts a key. False when the account already has `most` active keys, or has reached its limit of audit entries. */
export async function insertKey(
  db: D1Database,
  key: KeyRecord,
  hash: string,
  most: number,
  entry: AuditEntry,
  room: AuditRoom,
): Promise<boolean> {
  const insert = db
    .prepare(
      `INSERT INTO keys (id, account, environment, name, hash, hint, scopes, expires_at, ip_allow, endpoints, templates, nodes, created_at)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
       WHERE (SELECT count(*) FROM keys WHERE account = ?2 AND revoked_at IS NULL) < ?14
       AND ${auditHasRoom('?2', '?15', '?16')}`,
    )
    .bind(
      key.id,
      key.account,
      key.environment,
      key.name,
      hash,
      key.hint,
      ...rightsOf(key),
      key.created_at,
      most,
      room.since,
      room.limit,
    );
  return changed(await db.batch([insert, auditIfChanged(db, entry)]));
}

/**
 * Finds the key with this secret, including revoked keys. For a secret that a rotation has replaced, `ends_at` is its
 * expiry.
 */
export async function findBySecret(
  db: D1Database,
  hash: string,
): Promise<{ key: KeyRecord; ends_at: number | null } | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS}, hash = ?1 AS newest FROM keys WHERE hash = ?1 OR previous_hash = ?1`)
    .bind(hash)
    .first();
  if (row === null) {
    return null;
  }
  const key = keyRow.parse(row);
  return { key, ends_at: row['newest'] === 1 ? null : (key.previous_expires_at ?? 0) };
}

/**
 * Finds a key with the tags of its secrets: the first characters of their hashes. `previous` null: it was never
 * rotated.
 */
export async function findKeyWithTags(
  db: D1Database,
  id: string,
  chars: number,
): Promise<{ key: KeyRecord; tags: { newest: string; previous: string | null } } | null> {
  const row = await db
    .prepare(
      `SELECT ${COLUMNS}, substr(hash, 1, ?2) AS newest, substr(previous_hash, 1, ?2) AS previous FROM keys WHERE id = ?1`,
    )
    .bind(id, chars)
    .first();
  return row === null ? null : { key: keyRow.parse(row), tags: tagsRow.parse(row) };
}

/** Finds a key. `account`: only in this account, unless null. */
export async function findKey(db: D1Database, id: string, account: string | null): Promise<KeyRecord | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS} FROM keys WHERE id = ?1 AND (?2 IS NULL OR account = ?2)`)
    .bind(id, account)
    .first();
  return row === null ? null : keyRow.parse(row);
}

/** Lists keys of one account or of all, newest first. `before`: the last id of the previous page. */
export async function listKeys(
  db: D1Database,
  account: string | null,
  page: { limit: number; before: string | null },
): Promise<KeyRecord[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM keys WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR id < ?2)
       ORDER BY id DESC LIMIT ?3`,
    )
    .bind(account, page.before, page.limit)
    .all();
  return results.map((row) => keyRow.parse(row));
}

/** Updates a key. False when it has been revoked meanwhile, or its account has reached its limit of audit entries. */
export async function updateKey(
  db: D1Database,
  id: string,
  fields: KeyFields,
  entry: AuditEntry,
  room: AuditRoom,
): Promise<boolean> {
  const update = db
    .prepare(
      `UPDATE keys SET name = ?2, scopes = ?3, expires_at = ?4, ip_allow = ?5, endpoints = ?6, templates = ?7, nodes = ?8
       WHERE id = ?1 AND revoked_at IS NULL AND ${auditHasRoom('keys.account', '?9', '?10')}`,
    )
    .bind(id, fields.name, ...rightsOf(fields), room.since, room.limit);
  return changed(await db.batch([update, auditIfChanged(db, entry)]));
}

/**
 * Sets a new secret. The previous one works until `previous_expires_at`; an older one expires. False as for
 * `updateKey`.
 */
export async function rotateKey(
  db: D1Database,
  id: string,
  secret: { hash: string; hint: string; at: number; previous_expires_at: number },
  entry: AuditEntry,
  room: AuditRoom,
): Promise<boolean> {
  const update = db
    .prepare(
      `UPDATE keys SET previous_hash = hash, previous_expires_at = ?5, hash = ?2, hint = ?3, rotated_at = ?4
       WHERE id = ?1 AND revoked_at IS NULL AND ${auditHasRoom('keys.account', '?6', '?7')}`,
    )
    .bind(id, secret.hash, secret.hint, secret.at, secret.previous_expires_at, room.since, room.limit);
  return changed(await db.batch([update, auditIfChanged(db, entry)]));
}

/**
 * Revokes a key. `secret`: only while this is the hash of its newest secret; null: always. False when nothing was
 * revoked.
 */
export async function revokeKey(
  db: D1Database,
  id: string,
  at: number,
  entry: AuditEntry,
  secret: string | null,
): Promise<boolean> {
  const update = db
    .prepare('UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL AND (?3 IS NULL OR hash = ?3)')
    .bind(id, at, secret);
  return changed(await db.batch([update, auditIfChanged(db, entry)]));
}

/**
 * Ends the grace period of the last replaced secret, if it has this hash. False when the grace period had already
 * ended.
 */
export async function endGrace(
  db: D1Database,
  id: string,
  hash: string,
  at: number,
  entry: AuditEntry,
): Promise<boolean> {
  const update = db
    .prepare(
      `UPDATE keys SET previous_expires_at = ?3
       WHERE id = ?1 AND previous_hash = ?2 AND previous_expires_at > ?3 AND revoked_at IS NULL`,
    )
    .bind(id, hash, at);
  return changed(await db.batch([update, auditIfChanged(db, entry)]));
}

/** Records that a key was used. Writes nothing when a use after `unless_after` is already recorded. */
export async function recordKeyUse(db: D1Database, id: string, at: number, unless_after: number): Promise<void> {
  await db
    .prepare('UPDATE keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?3)')
    .bind(id, at, unless_after)
    .run();
}

/**
 * Removes at most `limit` keys with ids below `made_before` that were revoked before `revoked_before` (ms). Returns
 * their number.
 */
export async function deleteOldKeys(
  db: D1Database,
  { made_before, revoked_before }: { made_before: string; revoked_before: number },
  limit: number,
): Promise<number> {
  const { meta } = await db
    .prepare(
      'DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE id < ?1 AND revoked_at < ?2 ORDER BY id LIMIT ?3)',
    )
    .bind(made_before, revoked_before, limit)
    .run();
  return meta.changes;
}

const rightsOf = (key: Omit<KeyFields, 'name'>) => [
  JSON.stringify(key.scopes),
  key.expires_at,
  jsonOrNull(key.ip_allow),
  jsonOrNull(key.endpoints),
  jsonOrNull(key.templates),
  jsonOrNull(key.nodes),
];

const changed = ([first]: D1Result[]): boolean => first !== undefined && first.meta.changes > 0;
