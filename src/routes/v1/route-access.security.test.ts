import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { makeKey } from '../../domain/key/format.ts';
import { grants, SCOPES } from '../../domain/key/scopes.ts';
import { systemRandom } from '../../lib/ids.ts';
import { signToken } from '../../providers/tokens.ts';
import { anyone, newClient, PNG, problemOf, submitted, type Call } from '../../testing/gateway.ts';
import { as, madeKey, operator, ownApp, type MadeKey } from '../../testing/keys.ts';
import { runAsWorker } from '../../testing/worker.ts';
import { v1Routes } from './index.ts';
import { routeName, routerPath } from './route.ts';
import { ROUTES } from './routes.ts';

/**
 * Every route that is mounted against every credential that must not open it. A new route is in here by being mounted.
 */

const HOUR_MS = 3_600_000;
const INSIDE = { 'cf-connecting-ip': '203.0.113.9' };
const NOBODY = '01890000-0000-7000-8000-000000000000';

const guarded = ROUTES.flatMap((route) => {
  const { method, path, access } = route;
  return access === 'open' ? [] : [{ name: routeName(route), method: method.toUpperCase(), path, ...access }];
});
type Guarded = (typeof guarded)[number];

let account: string;
let job: string;
let other: string;
let full: MadeKey;
let stranger: { call: Call };
let ending: MadeKey;
let local: MadeKey;
let revoked: MadeKey;
let tokens: { good: string; ofRevoked: string };

async function tokenOf(call: Call, id: string, body = '{}'): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const response = await call(`/v1/jobs/${id}/tokens`, { method: 'POST', headers, body });
  expect(response.status).toBe(201);
  return (await response.json<{ token: string }>()).token;
}

beforeAll(async () => {
  account = (await newClient()).account;
  [full, stranger, local, revoked, ending] = await Promise.all([
    madeKey(account, { scopes: ['admin'] }),
    newClient(),
    madeKey(account, { scopes: ['admin'], ip_allow: ['203.0.113.0/24'] }),
    madeKey(account, { scopes: ['admin'] }),
    madeKey(account, { scopes: ['admin'], expires_at: new Date(Date.now() + HOUR_MS).toISOString() }),
  ]);
  job = (await submitted(full.call)).id;
  other = (await submitted(full.call)).id;
  await runAsWorker(account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
  tokens = { good: await tokenOf(full.call, job), ofRevoked: await tokenOf(revoked.call, job) };
  await full.call(`/v1/keys/${revoked.id}`, { method: 'DELETE' });
});

/** A path of the route: this job, its output, a key of the account. */
const pathOf = ({ path }: Guarded, id = path.startsWith('/keys') ? full.id : job): string =>
  `/v1${path
    .replace('outputs/{name}', 'outputs/a.png')
    .replace('{delivery}', NOBODY)
    .replace('{name}', 'default')
    .replace('{id}', id)}`;

const send = (route: Guarded, call: Call, headers: Record<string, string> = {}, path = pathOf(route)) =>
  call(path, { method: route.method, headers: { 'x-request-id': 'same', ...headers } });

const UNAUTHORIZED = { status: 401, code: 'unauthorized', challenge: 'Bearer realm="comfy-edge"' };

async function refusalOf(response: Response) {
  const challenge = response.headers.get('www-authenticate');
  const { status, code } = await problemOf(response);
  return { status, code, challenge };
}

describe('the definitions of routes', () => {
  it('are exactly the routes of the router', () => {
    const mounted = v1Routes.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path}`);
    const defined = ROUTES.map((route) => `${route.method.toUpperCase()} ${routerPath(route)}`);
    expect([...new Set(mounted)].toSorted()).toEqual(defined.toSorted());
  });

  it('leave one route open: revoking a key that was found', () => {
    expect(ROUTES.filter(({ access }) => access === 'open').map(routeName)).toEqual(['POST /keys/revoke']);
  });

  it('accept a read token on four routes, which all read', () => {
    expect(guarded.filter(({ readToken }) => readToken !== undefined).map(({ name }) => name)).toEqual([
      'GET /jobs/{id}',
      'GET /jobs/{id}/result',
      'GET /jobs/{id}/events',
      'GET /jobs/{id}/outputs/{name}',
    ]);
  });
});

describe.each(guarded.filter(({ operator: isOperators }) => isOperators !== true))('$name', (route) => {
  it('answers 403 to ADMIN_TOKEN, names what to send instead, and reads nothing', async () => {
    const read = vi.spyOn(env.DB, 'prepare');
    const seen = await problemOf(await send(route, operator));
    expect(seen).toMatchObject({ status: 403, code: 'admin_token_not_accepted' });
    expect(seen.detail).toContain('POST /v1/keys');
    expect(read).not.toHaveBeenCalled();
    read.mockRestore();
  });
});

describe.each(guarded)('$name', (route) => {
  it('answers 401 without reading anything to no key, no key at all, a typo, and a key in the query', async () => {
    const read = vi.spyOn(env.DB, 'prepare');
    const typo = full.key.slice(0, 20) + (full.key[20] === 'x' ? 'y' : 'x') + full.key.slice(21);
    expect(await refusalOf(await send(route, anyone))).toEqual(UNAUTHORIZED);
    expect(await refusalOf(await send(route, as('secret')))).toEqual(UNAUTHORIZED);
    expect(await refusalOf(await send(route, as(typo)))).toEqual(UNAUTHORIZED);
    expect(await refusalOf(await send(route, full.call, {}, `${pathOf(route)}?token=${full.key}`))).toEqual(
      UNAUTHORIZED,
    );
    expect(read).not.toHaveBeenCalled();
    read.mockRestore();
  });

  it('answers 401 to a key that was never made, is revoked, or has ended', async () => {
    expect(await refusalOf(await send(route, as(makeKey('live', systemRandom))))).toEqual(UNAUTHORIZED);
    expect(await refusalOf(await send(route, revoked.call))).toEqual(UNAUTHORIZED);
    const later = ownApp({ clock: () => Date.now() + HOUR_MS });
    expect(await refusalOf(await send(route, later(ending.key)))).toEqual(UNAUTHORIZED);
  });

  it('answers 403 to a key from an address that is not in its list, or from none', async () => {
    for (const headers of [{ 'cf-connecting-ip': '198.51.100.1' }, { 'cf-connecting-ip': '2001:db8::1' }, {}]) {
      const seen = await problemOf(await send(route, local.call, headers));
      expect(seen).toMatchObject({ status: 403, code: 'ip_not_allowed' });
    }
  });

  it('answers 403 to a key with every scope but the one it needs, and names that', async () => {
    const scopes = SCOPES.filter((scope) => !grants([scope], route.scope));
    const lacking = await madeKey(account, { scopes });
    const response = await send(route, lacking.call);
    expect(response.headers.get('www-authenticate')).toContain(`error="insufficient_scope", scope="${route.scope}"`);
    const seen = await problemOf(response);
    expect(seen).toMatchObject({ status: 403, code: 'insufficient_scope' });
    expect(seen.detail).toContain(`"${route.scope}"`);
  });

  it('answers 401 to a read token that is altered, expired, for another job, of a revoked key, or in the wrong place', async () => {
    const expired = `ce_read_${full.id}.${await signToken(env.TOKEN_SECRET ?? '', { purpose: 'read', job, key: full.id, secret: null }, Date.now() - 2_000)}`;
    const last = tokens.good.at(-1) === 'A' ? 'E' : 'A';
    const longer = tokens.good.replace(/\.(\d+)\./, (_, expiry: string) => `.${Number(expiry) + 1}.`);
    const wrong = [
      tokens.good.slice(0, -1) + last,
      longer,
      tokens.good.replace(full.id, local.id),
      tokens.good.slice(0, -1),
      'ce_read_',
      `ce_read_${full.id}`,
      expired,
      tokens.ofRevoked,
      await tokenOf(full.call, other),
      ...(route.readToken === undefined ? [tokens.good] : []),
    ];
    for (const token of wrong) {
      expect(await refusalOf(await send(route, as(token)))).toEqual(UNAUTHORIZED);
      expect(await refusalOf(await send(route, anyone, {}, `${pathOf(route)}?token=${token}`))).toEqual(UNAUTHORIZED);
    }
    for (const token of route.readToken === 'query' ? [] : [tokens.good]) {
      expect(await refusalOf(await send(route, anyone, {}, `${pathOf(route)}?token=${token}`))).toEqual(UNAUTHORIZED);
    }
  });

  it("answers for another account's resource as for a missing one", async () => {
    const seen = async (id: string) => {
      const init = { method: route.method, headers: { 'x-request-id': 'same', 'content-type': 'application/json' } };
      const body = route.method === 'GET' ? {} : { body: '{}' };
      const response = await stranger.call(pathOf(route, id), { ...init, ...body });
      // What is left of a quota may change from one answer to the next.
      const headers = [...response.headers].filter(([name]) => name !== 'ratelimit');
      return { status: response.status, headers, body: await response.text() };
    };
    const existing = pathOf(route).includes(full.id) ? full.id : job;
    const [foreign, missing] = [await seen(existing), await seen(NOBODY)];
    // A body that is not valid is refused before anything is looked up, and routes without an id have nothing to find.
    const usual = route.path.includes('{account}') ? [403, 404] : [200, 201, 403, 422];
    expect(route.path.includes('{id}') ? [404, 422] : usual).toContain(foreign.status);
    expect({ ...foreign, body: foreign.body.replaceAll(existing, NOBODY) }).toEqual(missing);
  });
});

describe('an authorized key', () => {
  it('is accepted from an allowed address before its end', async () => {
    expect((await local.call('/v1/jobs', { headers: INSIDE })).status).toBe(200);
    expect((await ending.call('/v1/jobs')).status).toBe(200);
  });

  it('is accepted with a wildcard scope', async () => {
    const reader = await madeKey(account, { scopes: ['jobs:*'] });
    expect((await reader.call('/v1/jobs')).status).toBe(200);
    expect(await problemOf(await reader.call('/v1/webhooks'))).toMatchObject({ status: 403 });
  });
});

describe('a read token', () => {
  it('shows its job, its events and its outputs, to pages of any origin', async () => {
    const browser = as(tokens.good);
    expect((await browser(`/v1/jobs/${job}`)).status).toBe(200);
    expect((await browser(`/v1/jobs/${job}/events`)).status).toBe(200);
    expect((await browser(`/v1/jobs/${job}/outputs/a.png`)).status).toBe(200);
    for (const path of ['events', 'outputs/a.png']) {
      const response = await anyone(`/v1/jobs/${job}/${path}?token=${tokens.good}`);
      expect(response.status).toBe(200);
      expect(response.headers.get('access-control-allow-origin')).toBe('*');
      await response.body?.cancel();
    }
  });

  it('comes with a URL for EventSource', async () => {
    const response = await full.call(`/v1/jobs/${job}/tokens`, { method: 'POST' });
    expect(response.headers.get('cache-control')).toBe('no-store');
    const made = await response.json<{ urls: { events: string } }>();
    const stream = await anyone(made.urls.events);
    expect(stream.headers.get('content-type')).toMatch('text/event-stream');
    await stream.body?.cancel();
  });

  it('expires 15 minutes after the deadline of its job', async () => {
    const { deadline } = await (await full.call(`/v1/jobs/${other}`)).json<{ deadline: string }>();
    const before = Date.now();
    const response = await full.call(`/v1/jobs/${other}/tokens`, { method: 'POST' });
    const { expires_at } = await response.json<{ expires_at: string }>();
    expect(Date.parse(expires_at)).toBeLessThanOrEqual(Date.parse(deadline) + 900_000);
    expect(Date.parse(expires_at)).toBeGreaterThan(before + 900_000);
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"expires_in": 100000}' };
    const seen = await problemOf(await full.call(`/v1/jobs/${other}/tokens`, init));
    expect(seen).toMatchObject({ code: 'out_of_range', errors: [{ pointer: '#/expires_in' }] });
  });

  it('ends at its stated time', async () => {
    const token = await tokenOf(full.call, other, '{"expires_in": 60}');
    const after = (ms: number) => ownApp({ clock: () => Date.now() + ms })(token)(`/v1/jobs/${other}`);
    expect((await after(50_000)).status).toBe(200);
    expect(await refusalOf(await after(61_000))).toEqual(UNAUTHORIZED);
  });

  it('is not created for a job of another account', async () => {
    const response = await stranger.call(`/v1/jobs/${job}/tokens`, { method: 'POST' });
    expect(await problemOf(response)).toMatchObject({ status: 404 });
  });
});
