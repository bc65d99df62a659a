import { beforeAll, describe, expect, it, vi } from 'vitest';
import { env } from 'cloudflare:workers';
import { listDurableObjectIds } from 'cloudflare:test';
import {
  ADMIN_TOKEN,
  anyone,
  newClient,
  PNG,
  postJson,
  problemOf,
  submitted,
  GRAPH,
  type Call,
} from '../../testing/gateway.ts';
import { makeKey } from '../../domain/key/format.ts';
import { systemRandom } from '../../lib/ids.ts';
import { runAsWorker } from '../../testing/worker.ts';

/**
 * Who may do what: every route against every wrong credential, and every thing of one account against another's key.
 */

const NOBODY = '01890000-0000-7000-8000-000000000000';

let owner: { account: string; key: string; call: Call };
let stranger: { account: string; key: string; call: Call };
let job: string;

beforeAll(async () => {
  [owner, stranger] = await Promise.all([newClient(), newClient()]);
  job = (await submitted(owner.call)).id;
  await runAsWorker(owner.account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
});

type Route = { title: string; path: () => string; init?: RequestInit };

const ROUTES: Route[] = [
  { title: 'POST /v1/jobs', path: () => '/v1/jobs', init: postJson({ workflow: GRAPH }) },
  { title: 'GET /v1/jobs', path: () => '/v1/jobs' },
  { title: 'GET /v1/jobs/{id}', path: () => `/v1/jobs/${job}` },
  { title: 'POST /v1/jobs/{id}/cancel', path: () => `/v1/jobs/${job}/cancel`, init: { method: 'POST' } },
  { title: 'GET /v1/jobs/{id}/events', path: () => `/v1/jobs/${job}/events` },
  { title: 'GET /v1/jobs/{id}/outputs/{name}', path: () => `/v1/jobs/${job}/outputs/a.png` },
  { title: 'POST /v1/assets', path: () => '/v1/assets', init: { method: 'POST', body: PNG } },
  { title: 'POST /v1/keys', path: () => '/v1/keys', init: postJson({ account: 'mine', environment: 'live' }) },
  { title: 'a route that does not exist', path: () => '/v1/nothing' },
];

/** Ways not to have a key. `key` is a good one of the owner's. */
const WRONG: { title: string; authorization: (key: string) => string | null }[] = [
  { title: 'no header', authorization: () => null },
  { title: 'an empty header', authorization: () => '' },
  { title: 'another scheme', authorization: (key) => `Basic ${btoa(`${key}:`)}` },
  { title: 'a bare key', authorization: (key) => key },
  { title: 'no key after the scheme', authorization: () => 'Bearer ' },
  { title: 'a word', authorization: () => 'Bearer secret' },
  { title: 'two keys', authorization: (key) => `Bearer ${key} ${key}` },
  {
    title: 'a key with a typo',
    authorization: (key) => `Bearer ${key.slice(0, 12)}${key[12] === 'a' ? 'b' : 'a'}${key.slice(13)}`,
  },
  { title: 'a key cut short', authorization: (key) => `Bearer ${key.slice(0, -1)}` },
  { title: 'a key in capitals', authorization: (key) => `Bearer ${key.toUpperCase()}` },
  {
    title: 'a well-formed key that was never made',
    authorization: () => `Bearer ${makeKey('test', systemRandom)}`,
  },
  { title: 'the hash of the key', authorization: () => `Bearer ${'0'.repeat(64)}` },
  { title: 'a huge header', authorization: () => `Bearer ${'x'.repeat(8000)}` },
];

describe.each(ROUTES)('$title', ({ path, init }) => {
  it.each(WRONG)('answers 401 to $title', async ({ authorization }) => {
    const headers = new Headers(init?.headers);
    const value = authorization(owner.key);
    if (value !== null) {
      headers.set('authorization', value);
    }
    const response = await anyone(path(), { ...init, headers });
    expect(response.headers.get('www-authenticate')).toMatch(/^Bearer /);
    expect(await problemOf(response)).toMatchObject({ status: 401, code: 'unauthorized' });
  });

  it('answers 401 to a key in the query, even beside a valid header', async () => {
    const separator = path().includes('?') ? '&' : '?';
    for (const query of [`api_key=${owner.key}`, `x=${encodeURIComponent(` ${owner.key}`)}`, owner.key]) {
      const response = await owner.call(`${path()}${separator}${query}`, init);
      expect(await problemOf(response)).toMatchObject({ status: 401, code: 'unauthorized' });
    }
  });
});

describe('a key', () => {
  it('causes no database read when its checksum is wrong', async () => {
    const prepare = vi.spyOn(env.DB, 'prepare');
    await anyone('/v1/jobs', { headers: { authorization: `Bearer ${owner.key.slice(0, -1)}!` } });
    await anyone('/v1/jobs', { headers: { authorization: 'Bearer ce_live_00000000000000000000000000000000000000' } });
    expect(prepare).not.toHaveBeenCalled();
    await anyone('/v1/jobs', { headers: { authorization: `Bearer ${makeKey('test', systemRandom)}` } });
    expect(prepare).toHaveBeenCalledOnce();
    prepare.mockRestore();
  });

  it('is stored only as a hash', async () => {
    const { results } = await env.DB.prepare('SELECT * FROM keys WHERE account = ?').bind(owner.account).all();
    expect(results).toHaveLength(1);
    expect(JSON.stringify(results)).not.toContain(owner.key.slice(8, -4));
    expect(results[0]).toMatchObject({ hint: owner.key.slice(-4), environment: 'test' });
  });

  it('stops working after its revocation where it is not cached', async () => {
    const made = await newClient();
    await env.DB.prepare('UPDATE keys SET revoked_at = 1 WHERE account = ?').bind(made.account).run();
    expect((await made.call('/v1/jobs')).status).toBe(401);
  });

  it('cannot create a key of another account', async () => {
    const response = await owner.call('/v1/keys', postJson({ account: 'x', environment: 'test' }));
    expect(await problemOf(response)).toMatchObject({ status: 422, errors: [{ pointer: '#/account' }] });
  });

  it('is not ADMIN_TOKEN', async () => {
    const response = await anyone('/v1/jobs', { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    expect(await problemOf(response)).toMatchObject({ status: 403, code: 'admin_token_not_accepted' });
  });
});

describe("another account's", () => {
  const twins: { title: string; foreign: () => string; missing: string; init?: RequestInit }[] = [
    { title: 'job', foreign: () => `/v1/jobs/${job}`, missing: `/v1/jobs/${NOBODY}` },
    {
      title: 'job, to cancel',
      foreign: () => `/v1/jobs/${job}/cancel`,
      missing: `/v1/jobs/${NOBODY}/cancel`,
      init: { method: 'POST' },
    },
    { title: 'events', foreign: () => `/v1/jobs/${job}/events`, missing: `/v1/jobs/${NOBODY}/events` },
    { title: 'output', foreign: () => `/v1/jobs/${job}/outputs/a.png`, missing: `/v1/jobs/${NOBODY}/outputs/a.png` },
  ];

  it.each(twins)(
    '$title gets the same response as a resource that does not exist',
    async ({ foreign, missing, init }) => {
      const seen = async (path: string) => {
        const response = await stranger.call(path, { ...init, headers: { 'x-request-id': 'same' } });
        return { status: response.status, headers: [...response.headers], body: await response.text() };
      };
      const answer = await seen(foreign());
      expect(answer.status).toBe(404);
      expect(answer).toEqual(await seen(missing));
      expect(answer).toEqual(await seen(missing.replace(NOBODY, 'no-id-at-all')));
    },
  );

  it('missing output has the response of a missing job', async () => {
    const call = (path: string) =>
      owner.call(path, { headers: { 'x-request-id': 'same' } }).then((response) => response.text());
    expect(await call(`/v1/jobs/${job}/outputs/b.png`)).toBe(await call(`/v1/jobs/${NOBODY}`));
  });

  it('jobs are not listed', async () => {
    await vi.waitFor(async () => expect(await (await owner.call('/v1/jobs')).text()).toContain(job));
    expect(await (await stranger.call('/v1/jobs')).json()).toEqual({ data: [], has_more: false, next_cursor: null });
  });

  it('asset cannot be used and has the response of a missing one', async () => {
    const { id } = await (await owner.call('/v1/assets', { method: 'POST', body: PNG })).json<{ id: string }>();
    const use = async (asset: string) => {
      const init = postJson({ workflow: GRAPH, inputs: [{ name: 'a.png', asset }] });
      const response = await stranger.call('/v1/jobs', {
        ...init,
        headers: { ...init.headers, 'x-request-id': 'same' },
      });
      return response.text();
    };
    expect(await use(id)).toBe(await use(`sha256:${'1'.repeat(64)}`));
  });

  it('job cannot be canceled', async () => {
    const { id } = await submitted(owner.call);
    await stranger.call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    const read = await (await owner.call(`/v1/jobs/${id}`)).json<{ status: string }>();
    expect(read.status).not.toMatch(/^cancel/);
  });
});

describe('a made-up id', () => {
  it.each(['x', '..', NOBODY.toUpperCase(), NOBODY.replace('-7', '-4'), `${NOBODY}0`, '%00', '%ff', 'a'.repeat(2000)])(
    'creates no Durable Object: %s',
    async (id) => {
      const before = (await listDurableObjectIds(env.JOB)).length;
      for (const path of ['', '/events', '/outputs/a']) {
        expect((await owner.call(`/v1/jobs/${id}${path}`)).status).toBeGreaterThanOrEqual(400);
      }
      await owner.call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
      expect(await listDurableObjectIds(env.JOB)).toHaveLength(before);
    },
  );
});
