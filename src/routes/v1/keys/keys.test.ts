import { describe, expect, it } from 'vitest';
import keysPage from '../../../../docs/guides/keys.md?raw';
import { ADMIN_TOKEN, anyone, postJson, problemOf } from '../../../testing/gateway.ts';

const create = (body: unknown) => {
  const init = postJson(body);
  return anyone('/v1/keys', { ...init, headers: { ...init.headers, authorization: `Bearer ${ADMIN_TOKEN}` } });
};

describe('the first key of an account', () => {
  it('is made by the one command of docs/guides/keys.md', async () => {
    const [, command = ''] = /-d '(\{.*\})'/.exec(keysPage) ?? [];
    const response = await create(JSON.parse(command));
    expect(response.status).toBe(201);
    const { key } = await response.json<{ key: string }>();
    const log = await anyone('/v1/audit', { headers: { authorization: `Bearer ${key}` } });
    expect(log.status).toBe(200);
  });
});

describe('a new key', () => {
  it('is shown once and works at once', async () => {
    const response = await create({ account: 'demo', environment: 'live', name: 'laptop' });
    expect(response.status).toBe(201);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const made = await response.json<{ id: string; account: string; key: string; created_at: string }>();
    expect(made).toMatchObject({ account: 'demo', key: expect.stringMatching(/^ce_live_/) as string });
    expect(new Date(made.created_at).toISOString()).toBe(made.created_at);
    const list = await anyone('/v1/jobs', { headers: { authorization: `bearer ${made.key}` } });
    expect(list.status).toBe(200);
  });

  it('is different each time', async () => {
    const keys = await Promise.all(
      Array.from(
        { length: 5 },
        async () => (await (await create({ account: 'demo', environment: 'test' })).json<{ key: string }>()).key,
      ),
    );
    expect(new Set(keys).size).toBe(5);
  });

  it.each([
    [{ environment: 'test' }, 'required', '#/account'],
    [{ account: 'A', environment: 'test' }, 'invalid_value', '#/account'],
    [{ account: '../x', environment: 'test' }, 'invalid_value', '#/account'],
    [{ account: 'a/b', environment: 'test' }, 'invalid_value', '#/account'],
    [{ account: 'a'.repeat(64), environment: 'test' }, 'invalid_value', '#/account'],
    [{ account: 'a\n', environment: 'test' }, 'invalid_value', '#/account'],
    [{ account: 'a', environment: 'prod' }, 'invalid_value', '#/environment'],
    [{ account: 'a', environment: 'test', admin: true }, 'unknown_field', '#/admin'],
    [{ account: 'a', environment: 'test', name: 'x'.repeat(101) }, 'out_of_range', '#/name'],
  ])('is not created from %j', async (body, code, at) => {
    const seen = await problemOf(await create(body));
    expect(seen).toMatchObject({ status: 422, code, errors: [{ pointer: at }] });
  });
});
