import { z } from 'zod';

/** Table `keys` (migrations/0001): everything the gateway asks of it. */

export type KeyRow = {
  id: string;
  account: string;
  environment: 'live' | 'test';
  name: string;
  hash: string;
  hint: string;
  created_at: number;
};

const found = z.object({ id: z.string(), account: z.string(), environment: z.enum(['live', 'test']) });
export type FoundKey = z.infer<typeof found>;

export async function insertKey(db: D1Database, key: KeyRow): Promise<void> {
  await db
    .prepare('INSERT INTO keys (id, account, environment, name, hash, hint, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)')
    .bind(key.id, key.account, key.environment, key.name, key.hash, key.hint, key.created_at)
    .run();
}

/** The key with this hash, unless it was revoked. */
export async function findKey(db: D1Database, hash: string): Promise<FoundKey | null> {
  const row = await db
    .prepare('SELECT id, account, environment FROM keys WHERE hash = ? AND revoked_at IS NULL')
    .bind(hash)
    .first();
  return row === null ? null : found.parse(row);
}
