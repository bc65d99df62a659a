import { applyD1Migrations } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, it } from 'vitest';
import { NO_FILTERS } from './job-list.ts';
import { listJobs } from './jobs.ts';
import { listUsage } from './usage.ts';

/** What a database of before has, under the names that were its own. */
const APPLIED = 'applied_again';

/** Takes the database of this file back to what the first migrations made. */
async function backTo(last: string): Promise<void> {
  const { results } = await env.DB.prepare(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'",
  ).all<{ name: string }>();
  await env.DB.batch(results.map(({ name }) => env.DB.prepare(`DROP TABLE ${name}`)));
  const before = env.TEST_MIGRATIONS.filter(({ name }) => name <= last);
  expect(before.at(-1)?.name).toBe(last);
  await applyD1Migrations(env.DB, before, APPLIED);
}

it('jobs and usage of before get the metadata and the key that lists and exports look for', async () => {
  await backTo('0004_usage.sql');
  const [over, running] = ['01890000-0000-7000-8000-000000000001', '01890000-0000-7000-8000-000000000002'];
  const job = env.DB.prepare(
    `INSERT INTO jobs (id, account, endpoint, status, created_at, deadline, metadata, version)
     VALUES (?, 'acc', 'default', ?, 1, 2, ?, 1)`,
  );
  const used = env.DB.prepare(
    `INSERT INTO usage (job, account, key, endpoint, status, completed_at, gpu_ms) VALUES (?, 'acc', 'k1', 'default', 'succeeded', 5, 1)`,
  );
  const metadata = { order: '7', 'a"b': "it's" };
  await env.DB.batch([
    job.bind(over, 'succeeded', JSON.stringify(metadata)),
    job.bind(running, 'running', '{}'),
    used.bind(over),
    used.bind('gone'),
  ]);
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS, APPLIED);

  const page = { limit: 9, before: null };
  const ids = async (narrowed: Partial<typeof NO_FILTERS>) =>
    (await listJobs(env.DB, 'acc', { ...NO_FILTERS, ...narrowed }, page)).map(({ id }) => id);
  expect(await ids({})).toEqual([running, over]);
  expect(await ids({ statuses: ['succeeded'] })).toEqual([over]);
  expect(await ids({ statuses: ['queued', 'running'] })).toEqual([running]);
  expect(await ids({ metadata: Object.entries(metadata) })).toEqual([over]);
  expect(await ids({ key: 'k1' })).toEqual([over]);
  expect(await listUsage(env.DB, 'acc', { from: 0, to: 9, after: null, limit: 9 })).toMatchObject([
    { job: over, metadata },
    { job: 'gone', metadata: {} },
  ]);
});
