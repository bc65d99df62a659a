import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { hashKey, makeKey } from '../../domain/key/format.ts';
import type { Env } from '../../env.ts';
import { systemRandom } from '../../lib/ids.ts';
import { wasGoodKey } from '../../storage/edge-cache/good-keys.ts';
import { anyone, postJson, problemOf, submitted, type Call } from '../../testing/gateway.ts';
import { as, madeKey, ownApp } from '../../testing/keys.ts';

/** The edge rate limits stop a flood before any read, without effect on other keys and addresses. */

const newAccount = () => `a${crypto.randomUUID()}`;

/** A rate limit binding that accepts `most` calls of each key. */
function allowing(most: number): RateLimit & { counts: Map<string, number> } {
  const counts = new Map<string, number>();
  return {
    counts,
    limit: ({ key = '' }) => {
      counts.set(key, (counts.get(key) ?? 0) + 1);
      return Promise.resolve({ success: (counts.get(key) ?? 0) <= most });
    },
  };
}

const from =
  (address: string, call: Call): Call =>
  (path, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('cf-connecting-ip', address);
    return call(path, { ...init, headers });
  };

const readsOfKeys = () => {
  const spy = vi.spyOn(env.DB, 'prepare');
  onTestFinished(() => spy.mockRestore());
  return spy;
};

const flood = async (call: () => Promise<Response>, count: number): Promise<number[]> => {
  const seen: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const response = await call();
    await response.arrayBuffer();
    seen.push(response.status);
  }
  return seen;
};

describe('a flood of keys that do not exist', () => {
  it('is stopped before any read, for its address only', async () => {
    const app = ownApp({}, { RATE_LIMIT_BAD_KEY: allowing(3) });
    const reads = readsOfKeys();
    const wrong = (address: string) => from(address, app(makeKey('test', systemRandom)))('/v1/jobs');
    expect(await flood(() => wrong('203.0.113.1'), 10)).toEqual([401, 401, 401, ...Array<number>(7).fill(429)]);
    expect(reads).toHaveBeenCalledTimes(3);
    const refused = await wrong('203.0.113.1');
    expect(refused.headers.get('retry-after')).toBe('60');
    expect(await problemOf(refused)).toMatchObject({ code: 'rate_limited', 'violated-policies': ['address'] });
    expect((await wrong('203.0.113.2')).status).toBe(401);
  });

  it.each([
    ['no key at all', ''],
    ['a word', 'secret'],
    ['a token we did not sign', 'ce_read_01890000-0000-7000-8000-000000000000.1.x'],
  ])('counts %s too', async (_title, credential) => {
    const app = ownApp({}, { RATE_LIMIT_BAD_KEY: allowing(2) });
    const path = '/v1/jobs/01890000-0000-7000-8000-000000000000/events';
    expect(await flood(() => from('2001:db8::1', app(credential))(path), 4)).toEqual([401, 401, 429, 429]);
    expect((await from('2001:db8::ffff', app(credential))(path)).status).toBe(429);
    expect((await from('2001:db8:0:1::1', app(credential))(path)).status).toBe(401);
  });

  it('does not block a valid key of the same address, in any isolate of the location', async () => {
    const [seen, fresh] = [await madeKey(newAccount()), await madeKey(newAccount())];
    const limit = allowing(3);
    const app = ownApp({}, { RATE_LIMIT_BAD_KEY: limit });
    const behind = (key: string) => from('203.0.113.9', app(key))('/v1/jobs');
    expect((await behind(seen.key)).status).toBe(200);
    await flood(() => behind(makeKey('test', systemRandom)), 5);
    expect(await flood(() => behind(seen.key), 5)).toEqual([200, 200, 200, 200, 200]);

    // Another isolate has never seen the key, but finds it in the cache of the location.
    vi.resetModules();
    const { createApp } = await import('../../app.ts');
    const elsewhere = createApp({ log: () => {} });
    const there = (key: string) => {
      const headers = { authorization: `Bearer ${key}`, 'cf-connecting-ip': '203.0.113.9' };
      return elsewhere.fetch(new Request('https://gateway.test/v1/jobs', { headers }), {
        ...env,
        RATE_LIMIT_BAD_KEY: limit,
      });
    };
    expect((await there(seen.key)).status).toBe(200);
    // This key was never valid before, so it counts like the invalid ones.
    expect((await there(fresh.key)).status).toBe(429);
  });
});

describe('a secret that was valid before', () => {
  it('counts as invalid after it was found invalid', async () => {
    const made = await madeKey(newAccount());
    const limit = allowing(0);
    const app = ownApp({}, { RATE_LIMIT_BAD_KEY: limit });
    const attempt = () => from('203.0.113.40', app(made.key))('/v1/jobs');
    // The key is valid, and the cache of the location stores that.
    expect((await made.call('/v1/jobs')).status).toBe(200);
    const hash = await hashKey(made.key);
    await vi.waitFor(async () => expect(await wasGoodKey(hash)).toBe(true));
    const rotate = async (call: Call): Promise<Call> => {
      const answer = await call(`/v1/keys/${made.id}/rotate`, postJson({ grace: 60 }));
      return as((await answer.json<{ key: string }>()).key);
    };
    await rotate(await rotate(made.call));
    expect((await attempt()).status).toBe(401);
    await vi.waitFor(async () => expect(await wasGoodKey(hash)).toBe(false));
    const reads = readsOfKeys();
    expect(await flood(attempt, 3)).toEqual([429, 429, 429]);
    expect(reads).not.toHaveBeenCalled();
  });
});

describe('a key', () => {
  it('is refused over its limit before any read, without effect on other keys', async () => {
    const account = newAccount();
    const [hot, calm] = [await madeKey(account), await madeKey(account)];
    const app = ownApp({}, { RATE_LIMIT_KEY: allowing(2) });
    expect(await flood(() => app(hot.key)('/v1/jobs'), 4)).toEqual([200, 200, 429, 429]);
    const refused = await app(hot.key)('/v1/jobs');
    expect(refused.headers.get('retry-after')).toBe('10');
    expect(await problemOf(refused)).toMatchObject({ code: 'rate_limited', 'violated-policies': ['key'] });
    expect((await app(calm.key)('/v1/jobs')).status).toBe(200);
    // A dropped stream must not get 429: its EventSource would not reconnect.
    const resumed = await app(hot.key)('/v1/jobs/01890000-0000-7000-8000-000000000000/events?after=3');
    expect(resumed.status).toBe(200);
    expect(await resumed.text()).toMatch(/^retry: \d+\n\n$/);
  });
});

describe('the read tokens of a key', () => {
  it("share a limit that does not affect the key or other keys' tokens", async () => {
    const account = newAccount();
    const [shown, other] = await Promise.all([madeKey(account), madeKey(account)]);
    const { id } = await submitted(shown.call);
    const tokenOf = async ({ call }: { call: Call }): Promise<string> => {
      const made = await call(`/v1/jobs/${id}/tokens`, { method: 'POST' });
      return (await made.json<{ token: string }>()).token;
    };
    const app = ownApp({}, { RATE_LIMIT_KEY: allowing(2) });
    const [first, second, apart] = [await tokenOf(shown), await tokenOf(shown), await tokenOf(other)];
    expect(await flood(() => app(first)(`/v1/jobs/${id}`), 3)).toEqual([200, 200, 429]);
    const refused = await app(second)(`/v1/jobs/${id}`);
    expect(refused.headers.get('retry-after')).toBe('10');
    expect(await problemOf(refused)).toMatchObject({ code: 'rate_limited', 'violated-policies': ['key'] });
    expect((await app(shown.key)(`/v1/jobs/${id}`)).status).toBe(200);
    expect((await app(apart)(`/v1/jobs/${id}`)).status).toBe(200);
  });
});

describe('a route without a key', () => {
  it.each([
    ['the revocation of a found key', '/v1/keys/revoke', postJson({ key: '' })],
    ['the document', '/openapi.json', {}],
    ['the pages', '/docs', {}],
    ['a problem’s page', '/problems/not_found', {}],
  ])('has a limit for an address: %s', async (_title, path, init: RequestInit) => {
    const app = ownApp({}, { RATE_LIMIT_OPEN: allowing(2) });
    expect((await flood(() => from('203.0.113.3', app(''))(path, init), 4)).slice(2)).toEqual([429, 429]);
    expect((await from('203.0.113.4', app(''))(path, init)).status).toBeLessThan(300);
  });

  it('has no limit for health', async () => {
    const limits = { RATE_LIMIT_BAD_KEY: allowing(0), RATE_LIMIT_OPEN: allowing(0), RATE_LIMIT_KEY: allowing(0) };
    const call = from('203.0.113.5', ownApp({}, limits)('x'));
    for (const path of ['/healthz', '/readyz']) {
      expect((await call(path)).status).not.toBe(429);
    }
  });
});

describe('an edge rate limit', () => {
  it('allows every request when it is missing or broken, or the address is unknown', async () => {
    const made = await madeKey(newAccount());
    const broken: RateLimit = { limit: () => Promise.reject(new Error('no')) };
    const none = {
      RATE_LIMIT_BAD_KEY: undefined,
      RATE_LIMIT_OPEN: undefined,
      RATE_LIMIT_KEY: undefined,
    } as unknown as Partial<Env>;
    const settings: Partial<Env>[] = [
      none,
      { RATE_LIMIT_BAD_KEY: broken, RATE_LIMIT_OPEN: broken, RATE_LIMIT_KEY: broken },
    ];
    for (const setting of settings) {
      const app = ownApp({}, setting);
      expect((await from('203.0.113.6', app(made.key))('/v1/jobs')).status).toBe(200);
      expect((await from('203.0.113.6', app('x'))('/v1/jobs')).status).toBe(401);
    }
    const app = ownApp({}, { RATE_LIMIT_BAD_KEY: allowing(0) });
    expect((await app('x')('/v1/jobs')).status).toBe(401);
    expect((await from('not an address', app('x'))('/v1/jobs')).status).toBe(401);
  });

  it('is named in the log of the readiness check when it is missing', async () => {
    const lines: unknown[] = [];
    const without = { RATE_LIMIT_KEY: undefined } as unknown as Partial<Env>;
    const app = ownApp({ log: (line) => void lines.push(line) }, without);
    expect((await app('')('/readyz')).status).toBe(200);
    expect(JSON.stringify(lines)).toContain('RATE_LIMIT_KEY: no such binding');
    expect(JSON.stringify(lines)).not.toContain('RATE_LIMIT_OPEN');
  });

  it("is the platform's, as wrangler.jsonc binds it", async () => {
    const call = from('198.51.100.77', anyone);
    // 100 in a minute; the minute may end in between.
    const seen = new Set(await flood(() => call('/v1/jobs'), 201));
    expect(seen).toEqual(new Set([401, 429]));
  });
});
