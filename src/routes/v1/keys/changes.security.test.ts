import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { MAX_CHANGES_PER_DAY } from '../../../services/keys/changes.ts';
import { RECORDS_KEPT_MS, sweepKeys } from '../../../services/maintenance/sweep-keys.ts';
import { uuidV7 } from '../../../lib/ids.ts';
import { postJson, problemOf } from '../../../testing/gateway.ts';
import { madeKey, operator } from '../../../testing/keys.ts';

/** The daily limit of key changes of an account, and the retention of their records. */

const HOUR_MS = 3_600_000;
const patch = (name: string): RequestInit => ({ ...postJson({ name }), method: 'PATCH' });
const newAccount = () => `a${crypto.randomUUID()}`;

/** Entries in the audit log of an account, as changes `ms_ago` would have left them. */
async function changed(account: string, count: number, ms_ago = HOUR_MS): Promise<void> {
  const at = Date.now() - ms_ago;
  const newId = uuidV7(() => at);
  const insert = env.DB.prepare(
    `INSERT INTO audit (id, account, at, actor, action, target, request_id, changes)
     VALUES (?, ?, ?, 'key', 'key.updated', 't', 'r', '{}')`,
  );
  const rows = Array.from({ length: count }, () => insert.bind(newId(), account, at));
  for (let from = 0; from < rows.length; from += 100) {
    await env.DB.batch(rows.slice(from, from + 100));
  }
}

const entriesOf = (account: string): Promise<number | null> =>
  env.DB.prepare('SELECT count(*) AS n FROM audit WHERE account = ?').bind(account).first<number>('n');

describe('changes of keys beyond MAX_CHANGES_PER_DAY', () => {
  it('are refused with a Retry-After, and leave no entry', async () => {
    const account = newAccount();
    const { id, call } = await madeKey(account);
    await changed(account, MAX_CHANGES_PER_DAY - 1);
    for (const [path, init] of [
      ['/v1/keys', postJson({ environment: 'test' })],
      [`/v1/keys/${id}`, patch('x')],
      [`/v1/keys/${id}/rotate`, postJson({})],
    ] as const) {
      const answer = await call(path, init);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(22 * 3_600);
      expect(await problemOf(answer)).toMatchObject({ status: 429, code: 'rate_limited' });
    }
    expect(await entriesOf(account)).toBe(MAX_CHANGES_PER_DAY);
  });

  it('hold the limit for concurrent changes', async () => {
    const account = newAccount();
    const { id, call } = await madeKey(account);
    await changed(account, MAX_CHANGES_PER_DAY - 4);
    const answers = await Promise.all(Array.from({ length: 10 }, (_, at) => call(`/v1/keys/${id}`, patch(`n${at}`))));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(7);
    expect(await entriesOf(account)).toBe(MAX_CHANGES_PER_DAY);
  });

  it('do not count changes older than 24 hours', async () => {
    const account = newAccount();
    const { id, call } = await madeKey(account);
    await changed(account, MAX_CHANGES_PER_DAY, 25 * HOUR_MS);
    expect((await call(`/v1/keys/${id}`, patch('x'))).status).toBe(200);
  });

  it('are allowed to the operator', async () => {
    const account = newAccount();
    const { id } = await madeKey(account);
    await changed(account, MAX_CHANGES_PER_DAY);
    expect((await operator(`/v1/keys/${id}`, patch('x'))).status).toBe(200);
    await madeKey(account);
  });

  it('do not prevent revocations', async () => {
    const account = newAccount();
    const { id, call } = await madeKey(account);
    const found = await madeKey(account);
    await changed(account, MAX_CHANGES_PER_DAY);
    expect((await call('/v1/keys/revoke', postJson({ key: found.key }))).status).toBe(204);
    expect((await call(`/v1/keys/${found.id}`)).status).toBe(200);
    expect((await call(`/v1/keys/${id}`, { method: 'DELETE' })).status).toBe(200);
  });
});

describe('the sweep of old records', () => {
  const made = async (account: string, made_at: number, revoked_at: number | null): Promise<string> => {
    const id = uuidV7(() => made_at)();
    await env.DB.prepare(
      'INSERT INTO keys (id, account, environment, name, hash, hint, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    )
      .bind(id, account, 'test', '', id, 'abcd', made_at, revoked_at)
      .run();
    return id;
  };
  const kept = async (account: string): Promise<string[]> => {
    const { results } = await env.DB.prepare('SELECT id FROM keys WHERE account = ? ORDER BY id').bind(account).all();
    return results.map(({ id }) => String(id));
  };

  it('removes entries of the audit log older than RECORDS_KEPT_MS', async () => {
    const account = newAccount();
    await changed(account, 3, RECORDS_KEPT_MS + HOUR_MS);
    await changed(account, 2, RECORDS_KEPT_MS - HOUR_MS);
    await sweepKeys(env, Date.now(), () => {});
    expect(await entriesOf(account)).toBe(2);
  });

  it('removes only keys that were revoked before that', async () => {
    const account = newAccount();
    const old = Date.now() - RECORDS_KEPT_MS - HOUR_MS;
    await made(account, old - HOUR_MS, old);
    const live = await made(account, old - HOUR_MS, null);
    const late = await made(account, old - HOUR_MS, Date.now() - HOUR_MS);
    await sweepKeys(env, Date.now(), () => {});
    expect(await kept(account)).toEqual([live, late].toSorted());
  });

  it('removes the oldest first, a bounded number at a time', async () => {
    const account = newAccount();
    await changed(account, 1_100, RECORDS_KEPT_MS + HOUR_MS);
    await sweepKeys(env, Date.now(), () => {});
    expect(await entriesOf(account)).toBe(100);
    await sweepKeys(env, Date.now(), () => {});
    expect(await entriesOf(account)).toBe(0);
  });
});
