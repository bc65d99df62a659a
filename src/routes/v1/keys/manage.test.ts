import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { CACHE_MS, USE_RECORDED_MS } from '../../../services/auth/verify-key.ts';
import { anyone, newClient, postJson, problemOf } from '../../../testing/gateway.ts';
import { as, madeKey, operator, ownApp } from '../../../testing/keys.ts';
import { keyPageSchema, keySchema, keyWithSecretSchema } from './schemas.ts';

const newAccount = () => `a${crypto.randomUUID()}`;
const works = async (key: string): Promise<boolean> => (await as(key)('/v1/jobs')).status === 200;
const rotated = async (response: Response) => keyWithSecretSchema.parse(await response.json());
const patch = (body: unknown): RequestInit => ({ ...postJson(body), method: 'PATCH' });

/** What the gateway promises: docs/guides/keys.md. */
const REVOKED_EVERYWHERE_MS = 30_000;

describe('a key', () => {
  it('has every scope but admin by default, like keys from before scopes', async () => {
    const account = newAccount();
    const made = await madeKey(account);
    await env.DB.prepare(
      'INSERT INTO keys (id, account, environment, name, hash, hint, created_at) VALUES (?,?,?,?,?,?,?)',
    )
      .bind(crypto.randomUUID(), account, 'live', 'old', 'hash', 'abcd', 1)
      .run();
    const { data } = keyPageSchema.parse(await (await made.call('/v1/keys')).json());
    const all = ['jobs:*', 'assets:*', 'templates:*', 'webhooks:*', 'keys:*', 'usage:read'];
    expect(data.map(({ scopes }) => scopes)).toEqual([all, all]);
    expect(await problemOf(await made.call('/v1/audit'))).toMatchObject({ status: 403, code: 'insufficient_scope' });
  });

  it('is listed and read by prefix and hint, without its secret', async () => {
    const made = await madeKey(newAccount(), { name: 'laptop', endpoints: ['default'], ip_allow: ['::1'] });
    await env.DB.prepare('UPDATE keys SET ip_allow = NULL WHERE id = ?').bind(made.id).run();
    const texts = await Promise.all(
      ['/v1/keys', `/v1/keys/${made.id}`].map(async (path) => (await made.call(path)).text()),
    );
    for (const text of texts) {
      expect(text).not.toContain(made.key.slice(8, -4));
    }
    expect(keySchema.parse(JSON.parse(texts[1] ?? ''))).toMatchObject({
      id: made.id,
      name: 'laptop',
      prefix: 'ce_test_',
      hint: made.key.slice(-4),
      endpoints: ['default'],
    });
  });

  it('is not found in another account, for every operation', async () => {
    const [mine, theirs] = await Promise.all([madeKey(newAccount()), madeKey(newAccount())]);
    for (const init of [{}, { method: 'DELETE' }, patch({ name: 'x' })]) {
      const seen = await problemOf(await mine.call(`/v1/keys/${theirs.id}`, init));
      expect(seen).toMatchObject({ status: 404, code: 'not_found' });
    }
    expect(await works(theirs.key)).toBe(true);
  });

  it('pages newest first', async () => {
    const account = newAccount();
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1) {
      ids.unshift((await madeKey(account)).id);
    }
    const first = keyPageSchema.parse(await (await operator(`/v1/keys?account=${account}&limit=2`)).json());
    const next = `/v1/keys?account=${account}&limit=2&cursor=${first.next_cursor ?? ''}`;
    const second = keyPageSchema.parse(await (await operator(next)).json());
    expect([...first.data, ...second.data].map(({ id }) => id)).toEqual(ids);
    expect([first.has_more, second.has_more]).toEqual([true, false]);
  });

  it('cannot exceed MAX_KEYS in an account', async () => {
    const account = newAccount();
    const insert = env.DB.prepare(
      'INSERT INTO keys (id, account, environment, name, hash, hint, created_at) VALUES (?,?,?,?,?,?,?)',
    );
    const rows = Array.from({ length: 500 }, (_, at) =>
      insert.bind(`${account}${at}`, account, 'live', '', `${account}${at}`, '', 1),
    );
    await env.DB.batch(rows);
    const seen = await problemOf(await operator('/v1/keys', postJson({ account, environment: 'test' })));
    expect(seen).toMatchObject({ status: 422, code: 'too_many_keys' });
  });
});

describe('a key that creates keys', () => {
  it('creates them for its own account with its own bounds', async () => {
    const account = newAccount();
    const maker = await madeKey(account, { endpoints: ['default'], scopes: ['keys:write', 'jobs:read'] });
    const response = await maker.call('/v1/keys', postJson({ environment: 'test' }));
    expect(response.status).toBe(201);
    const made = await rotated(response);
    expect(made).toMatchObject({ account, endpoints: ['default'], scopes: ['keys:write', 'jobs:read'] });
  });

  it.each([
    [{ environment: 'test', scopes: ['admin'] }, 'insufficient_scope'],
    [{ environment: 'test', scopes: ['jobs:*'] }, 'insufficient_scope'],
    [{ environment: 'live' }, 'exceeds_key'],
    [{ environment: 'test', endpoints: null }, 'exceeds_key'],
    [{ environment: 'test', endpoints: ['narrow'] }, 'exceeds_key'],
  ])('does not create keys with more permissions: %j', async (body, code) => {
    const maker = await madeKey(newAccount(), { endpoints: ['default'], scopes: ['keys:write', 'jobs:read'] });
    expect(await problemOf(await maker.call('/v1/keys', postJson(body)))).toMatchObject({ status: 403, code });
    expect(await problemOf(await maker.call(`/v1/keys/${maker.id}`, patch({ endpoints: null })))).toMatchObject({
      status: 403,
      code: 'exceeds_key',
    });
  });

  it('cannot rotate a key with more permissions', async () => {
    const account = newAccount();
    const [maker, admin] = await Promise.all([madeKey(account), madeKey(account, { scopes: ['admin'] })]);
    const response = await maker.call(`/v1/keys/${admin.id}/rotate`, { method: 'POST' });
    expect(await problemOf(response)).toMatchObject({ status: 403, code: 'insufficient_scope' });
    expect(await works(admin.key)).toBe(true);
  });

  it.each([
    [{ environment: 'test', scopes: [] }, 'out_of_range', '#/scopes'],
    [{ environment: 'test', scopes: ['jobs'] }, 'invalid_value', '#/scopes/0'],
    [{ environment: 'test', ip_allow: ['10.0.0.1/8'] }, 'invalid_value', '#/ip_allow/0'],
    [{ environment: 'test', endpoints: ['nowhere'] }, 'unknown_endpoint', '#/endpoints/0'],
    [{ environment: 'test', expires_at: '2020-01-01T00:00:00Z' }, 'out_of_range', '#/expires_at'],
    [{ environment: 'test', expires_at: 'tomorrow' }, 'invalid_value', '#/expires_at'],
    [{ environment: 'test', nodes: { allow: [''] } }, 'out_of_range', '#/nodes/allow/0'],
  ])('does not create a key from %j', async (body, code, pointer) => {
    const { call } = await newClient();
    expect(await problemOf(await call('/v1/keys', postJson(body)))).toMatchObject({ code, errors: [{ pointer }] });
  });
});

describe('a rotation', () => {
  it('gives the key a second secret, and the old one works until the end of the grace', async () => {
    const made = await madeKey(newAccount());
    const response = await made.call(`/v1/keys/${made.id}/rotate`, postJson({ grace: 60 }));
    expect(response.headers.get('cache-control')).toBe('no-store');
    const next = await rotated(response);
    expect(next).toMatchObject({ id: made.id, hint: next.key.slice(-4) });
    expect(next.key).not.toBe(made.key);
    expect([await works(made.key), await works(next.key)]).toEqual([true, true]);
    const later = ownApp({ clock: () => Date.now() + 61_000 });
    expect((await later(made.key)('/v1/jobs')).status).toBe(401);
    expect((await later(next.key)('/v1/jobs')).status).toBe(200);
  });

  it('ends the old secret at once without a grace', async () => {
    const made = await madeKey(newAccount());
    const second = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, { method: 'POST' }));
    const third = await rotated(await as(second.key)(`/v1/keys/${made.id}/rotate`, { method: 'POST' }));
    expect([await works(made.key), await works(second.key), await works(third.key)]).toEqual([false, true, true]);
    const last = await rotated(await as(third.key)(`/v1/keys/${made.id}/rotate`, postJson({ grace: 0 })));
    expect([await works(third.key), await works(last.key)]).toEqual([false, true]);
  });

  it('does not extend the life of the key', async () => {
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const made = await madeKey(newAccount(), { expires_at });
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, { method: 'POST' }));
    expect(next).toMatchObject({ expires_at, previous_expires_at: expires_at });
    const seen = await problemOf(await as(next.key)(`/v1/keys/${made.id}/rotate`, postJson({ grace: 604_801 })));
    expect(seen).toMatchObject({ code: 'out_of_range', errors: [{ pointer: '#/grace' }] });
  });
});

describe('a revocation', () => {
  it('takes effect at once in this isolate, for both secrets, permanently', async () => {
    const account = newAccount();
    const made = await madeKey(account);
    const next = await rotated(await made.call(`/v1/keys/${made.id}/rotate`, { method: 'POST' }));
    const gone = keySchema.parse(await (await as(next.key)(`/v1/keys/${made.id}`, { method: 'DELETE' })).json());
    expect(gone.revoked_at).not.toBeNull();
    expect([await works(made.key), await works(next.key)]).toEqual([false, false]);
    const again = await operator(`/v1/keys/${made.id}`, { method: 'DELETE' });
    expect(await again.json()).toEqual(gone);
    for (const response of [
      await operator(`/v1/keys/${made.id}`, patch({ name: 'back' })),
      await operator(`/v1/keys/${made.id}/rotate`, { method: 'POST' }),
    ]) {
      expect(await problemOf(response)).toMatchObject({ status: 422, code: 'key_revoked' });
    }
  });

  it('takes effect in other isolates within 30 s', async () => {
    const made = await madeKey(newAccount());
    let now = Date.now();
    const call = ownApp({ clock: () => now })(made.key);
    expect((await call('/v1/jobs')).status).toBe(200);
    const seenAt = now;
    // Another isolate writes to the database; this one hears nothing of it.
    await env.DB.prepare('UPDATE keys SET revoked_at = ? WHERE id = ?').bind(now, made.id).run();
    now = seenAt + CACHE_MS - 1;
    expect((await call('/v1/jobs')).status).toBe(200);
    now = seenAt + CACHE_MS;
    expect((await call('/v1/jobs')).status).toBe(401);
    expect(CACHE_MS).toBeLessThan(REVOKED_EVERYWHERE_MS);
  });

  it('needs only the secret, and does not reveal whether the key existed', async () => {
    const account = newAccount();
    const [made, kept] = await Promise.all([madeKey(account), madeKey(account, { scopes: ['admin'] })]);
    const give = (key: string) => anyone('/v1/keys/revoke', postJson({ key }));
    expect(await works(made.key)).toBe(true);
    const answers = [
      await give(made.key),
      await give(made.key),
      await give(`${made.key.slice(0, -1)}_`),
      await give(''),
    ];
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204, 204]);
    expect([await works(made.key), await works(kept.key)]).toEqual([false, true]);
    const { data } = await (await kept.call('/v1/audit?limit=1')).json<{ data: unknown[] }>();
    expect(data).toMatchObject([{ action: 'key.revoked', target: made.id, actor: { type: 'secret', key: made.id } }]);
  });
});

describe('the last use of a key', () => {
  it('is recorded with one write in five minutes', async () => {
    const made = await madeKey(newAccount());
    let now = Date.now();
    const call = ownApp({ clock: () => now })(made.key);
    const used = () =>
      env.DB.prepare('SELECT last_used_at FROM keys WHERE id = ?').bind(made.id).first<number>('last_used_at');
    const prepare = vi.spyOn(env.DB, 'prepare');
    const writes = () => prepare.mock.calls.filter(([sql]) => sql.includes('last_used_at = ')).length;
    const first = now;
    for (let count = 0; count < 20; count += 1) {
      await call('/v1/jobs');
    }
    await vi.waitFor(async () => expect(await used()).toBe(first));
    expect(writes()).toBe(1);
    now = first + USE_RECORDED_MS - 1;
    await call('/v1/jobs');
    now = first + USE_RECORDED_MS;
    await call('/v1/jobs');
    await vi.waitFor(async () => expect(await used()).toBe(now));
    expect(writes()).toBe(2);
    prepare.mockRestore();
  });
});

describe('the audit log', () => {
  it('records actor, change, time and request, without secrets and without failed changes', async () => {
    const account = newAccount();
    const admin = await madeKey(account, { scopes: ['admin'], name: 'boss' });
    const made = await rotated(await admin.call('/v1/keys', postJson({ environment: 'test', name: 'a' })));
    const headers = { 'content-type': 'application/json', 'x-request-id': 'mine' };
    await admin.call(`/v1/keys/${made.id}`, {
      method: 'PATCH',
      headers,
      body: '{"name": "b", "scopes": ["jobs:read"]}',
    });
    const next = await rotated(await admin.call(`/v1/keys/${made.id}/rotate`, { method: 'POST' }));
    await admin.call(`/v1/keys/${made.id}`, { method: 'DELETE' });
    await admin.call(`/v1/keys/${made.id}`, { method: 'DELETE' });
    await admin.call(`/v1/keys/${made.id}`, patch({ name: 'c' }));
    const text = await (await admin.call('/v1/audit')).text();
    expect(text).not.toContain(made.key.slice(8, -4));
    expect(text).not.toContain(next.key.slice(8, -4));
    const { data } = JSON.parse(text) as { data: Record<string, unknown>[] };
    const by = { type: 'key', key: admin.id };
    expect(data).toMatchObject([
      { action: 'key.revoked', target: made.id, actor: by },
      { action: 'key.rotated', target: made.id, actor: by, changes: { hint: next.hint } },
      {
        action: 'key.updated',
        target: made.id,
        actor: by,
        request_id: 'mine',
        changes: { name: { from: 'a', to: 'b' }, scopes: { to: ['jobs:read'] } },
      },
      { action: 'key.created', target: made.id, actor: by, changes: { name: 'a', environment: 'test' } },
      { action: 'key.created', target: admin.id, actor: { type: 'operator', key: null }, account },
    ]);
    expect(data).toHaveLength(5);
  });

  it('shows a key its own account, and the operator all accounts', async () => {
    const [one, two] = await Promise.all([madeKey(newAccount(), { scopes: ['admin'] }), madeKey(newAccount())]);
    const targets = async (response: Response) =>
      (await response.json<{ data: { target: string }[] }>()).data.map(({ target }) => target);
    expect(await targets(await one.call('/v1/audit'))).toEqual([one.id]);
    expect(await targets(await operator('/v1/audit?limit=100'))).toEqual(expect.arrayContaining([one.id, two.id]));
  });
});
