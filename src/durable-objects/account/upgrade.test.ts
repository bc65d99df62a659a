import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, it } from 'vitest';
import { newId } from '../../testing/job.ts';

/**
 * Guards upgrades: the tables of an account from before it had files are opened by this release. Before the first
 * release their names follow those of the code; after it, the stored form below never changes.
 */
const FIRST_TABLES = `
CREATE TABLE submits (window_start INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE limit_overrides (one INTEGER PRIMARY KEY CHECK (one = 1), limits TEXT NOT NULL);
CREATE TABLE slots (
  job TEXT PRIMARY KEY, arrival INTEGER NOT NULL, key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'queued', 'expired')), priority INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX slots_queued ON slots (priority DESC, arrival) WHERE state = 'queued';
CREATE TABLE idempotency_keys (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job);
CREATE TABLE spend (day INTEGER PRIMARY KEY, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL);
`;

it('an account from before files keeps its slots and limits, and stores files', async () => {
  const account = `a${crypto.randomUUID()}`;
  const old = newId();
  await runInDurableObject(env.ACCOUNT.getByName(account), async (_object, { storage }) => {
    const tables = storage.sql
      .exec<{ name: string }>(
        // `_cf_*` is the platform's, `sqlite_*` the database's own.
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'",
      )
      .toArray();
    for (const { name } of tables) {
      storage.sql.exec(`DROP TABLE ${name}`);
    }
    storage.sql.exec(FIRST_TABLES);
    storage.sql.exec(`INSERT INTO limit_overrides VALUES (1, '{"jobs_in_flight":1}')`);
    storage.sql.exec("INSERT INTO slots VALUES (?, 1, 'k', 'active', 1, ?, 1, 0)", old, Date.now() + 60_000);
    await storage.sync();
  });
  await abortAllDurableObjects();

  const stub = env.ACCOUNT.getByName(account);
  const sha256 = 'a'.repeat(64);
  const file = { sha256, size_bytes: 1, content_type: 'image/png', created_at: Date.now() };
  expect(await stub.recordAsset(account, file, { uploaded: true, created: true })).toMatchObject({ sha256 });
  const admitted = await stub.admit({
    job: newId(),
    account,
    key: 'k',
    priority: 'normal',
    expires_at: Date.now() + 60_000,
    reserve: { gpu_ms: 1, micro_usd: null },
    inputs: [{ sha256, size_bytes: 1, content_type: 'image/png', attached: false }],
    retention: null,
    idempotency: null,
  });
  expect(admitted).toMatchObject({ kind: 'admitted', waits: true });
  expect(await stub.deleteAsset(sha256)).toBe('in_use');
  // A job from before the upgrade uses no files.
  await stub.releaseSlot(old, { gpu_ms: 0, micro_usd: 0 });
  await stub.onJobErased(old);
  expect(await stub.limits()).toMatchObject({ jobs_in_flight: 1, asset_retention: 2_592_000 });
});
