import { applyD1Migrations } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LogEntry } from './providers/log.ts';
import { LATEST_MIGRATION } from './storage/d1/schema-version.ts';
import { ORIGIN, ownGateway, problemOf } from './testing/gateway.ts';

/** `/readyz` reports whether the database has all migrations that this build needs. */

const lines: LogEntry[] = [];
/** Each request comes after the cached answer has expired. */
let now = 0;
const gateway = ownGateway({ log: (line) => lines.push(line), clock: () => (now += 60_000) });
const ask = (bindings = env): Promise<Response> => gateway.fetch(new Request(`${ORIGIN}/readyz`), bindings);

/** The name of a migration before the newest. There is only one so far, so the name is made up. */
const OLDER_MIGRATION = '0000_older.sql';

/** Makes a database whose newest migration is `last`, as wrangler records it; an empty text: no migration. */
async function databaseAt(last: string): Promise<void> {
  const { results } = await env.DB.prepare(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'",
  ).all<{ name: string }>();
  for (const { name } of results) {
    await env.DB.prepare(`DROP TABLE ${name}`).run();
  }
  if (last !== '') {
    await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
    await env.DB.prepare('DELETE FROM d1_migrations WHERE name > ?').bind(last).run();
    await env.DB.prepare('INSERT OR IGNORE INTO d1_migrations (name) VALUES (?)').bind(last).run();
  }
}

beforeEach(() => void lines.splice(0));

it('the schema version is the newest migration', () => {
  expect(env.TEST_MIGRATIONS.at(-1)?.name).toBe(LATEST_MIGRATION);
});

describe('a gateway', () => {
  it.each([
    ['without a table', ''],
    ['one migration behind', OLDER_MIGRATION],
  ])('is not ready on a database %s, and its log names the migrations', async (_, last) => {
    await databaseAt(last);
    const answer = await ask();
    expect(answer.headers.get('retry-after')).toBeNull();
    const seen = await problemOf(answer);
    expect(seen).toMatchObject({ status: 503, code: 'database_outdated' });
    expect(seen.detail).toContain('migrations');
    expect(seen.detail).not.toContain(LATEST_MIGRATION);
    expect(lines).toContainEqual(
      expect.objectContaining({
        event: 'database_outdated',
        applied: last === '' ? null : last,
        required: LATEST_MIGRATION,
      }),
    );
  });

  it('is ready once the migrations are applied', async () => {
    await databaseAt(OLDER_MIGRATION);
    expect((await ask()).status).toBe(503);
    await databaseAt(LATEST_MIGRATION);
    expect((await ask()).status).toBe(200);
  });

  it('is ready on the database of a newer release, after a rollback', async () => {
    await databaseAt(LATEST_MIGRATION);
    await env.DB.prepare("INSERT INTO d1_migrations (name) VALUES ('9999_of_a_later_release.sql')").run();
    expect((await ask()).status).toBe(200);
  });

  it('is not ready while D1 does not answer', async () => {
    const DB = Object.assign(Object.create(env.DB) as D1Database, {
      prepare() {
        throw new Error('D1_ERROR: internal host-7.example');
      },
    });
    const answer = await ask({ ...env, DB });
    const text = await answer.clone().text();
    expect(await problemOf(answer)).toMatchObject({ status: 503, code: 'unavailable' });
    expect(text).not.toContain('host-7');
    expect(lines).toContainEqual(expect.objectContaining({ event: 'database_unavailable' }));
  });

  it('asks D1 once for concurrent requests', async () => {
    await databaseAt(LATEST_MIGRATION);
    const still = ownGateway({ clock: () => 1_000_000_000_000 });
    const fetch = () => still.fetch(new Request(`${ORIGIN}/readyz`), env);
    expect((await fetch()).status).toBe(200);
    await databaseAt('');
    expect((await fetch()).status).toBe(200);
  });
});
