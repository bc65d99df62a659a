import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, it } from 'vitest';
import { newId } from '../../testing/job.ts';

/** Guards upgrades: objects stored by an earlier release are opened by this one. The stored form below never changes. */
/** The tables of an account as release 0.1.0 made them, taken from that release and never changed. */
const TABLES_0_1 = `
CREATE TABLE submits (window_start INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE own_limits (one INTEGER PRIMARY KEY CHECK (one = 1), limits TEXT NOT NULL);
CREATE TABLE places (
  job TEXT PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('in', 'waiting', 'lapsed')),
  priority INTEGER NOT NULL, expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
);
CREATE INDEX places_by_state ON places (state, expires_at);
CREATE TABLE repeats (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
);
CREATE INDEX repeats_by_age ON repeats (created_at);
CREATE INDEX repeats_by_job ON repeats (job);
CREATE TABLE spend (day INTEGER PRIMARY KEY, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL);
`;

it('an account that release 0.1.0 stored keeps its places and limits, and takes files', async () => {
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
    storage.sql.exec(TABLES_0_1);
    storage.sql.exec(`INSERT INTO own_limits VALUES (1, '{"jobs_in_flight":1}')`);
    storage.sql.exec("INSERT INTO places VALUES (?, 'k', 'in', 1, ?, 1, 0)", old, Date.now() + 60_000);
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
    inputs: [{ sha256, size_bytes: 1, content_type: 'image/png', brought: false }],
    retention: null,
    idempotency: null,
  });
  expect(admitted).toMatchObject({ kind: 'admitted', waits: true });
  expect(await stub.deleteAsset(sha256)).toBe('in_use');
  // A job from before has no uses to end.
  await stub.releaseSlot(old, { gpu_ms: 0, micro_usd: 0 });
  await stub.onJobErased(old);
  expect(await stub.limits()).toMatchObject({ jobs_in_flight: 1, asset_retention: 2_592_000 });
});
