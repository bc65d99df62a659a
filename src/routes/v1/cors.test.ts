import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { answerRunpod, anyone, postJson, submitted, type Call } from '../../testing/gateway.ts';
import { madeKey, ownApp } from '../../testing/keys.ts';
import { readConfig } from '../../config/schema.ts';
import { routeName } from './route.ts';
import { ROUTES } from './routes.ts';

/** What browsers let pages do: which origins may read which answers. The browser's side is the Fetch standard's. */

const PAGE = 'https://app.example';
const OTHER = 'https://other.example';
const NOBODY = '01890000-0000-7000-8000-000000000000';
const named = ownApp({}, { CORS_ORIGINS: JSON.stringify([PAGE]) });

const of = (origin: string, init: RequestInit = {}): RequestInit => {
  const headers = new Headers(init.headers);
  headers.set('origin', origin);
  return { ...init, headers };
};
const preflight = (origin: string, method: string): RequestInit => ({
  method: 'OPTIONS',
  headers: {
    origin,
    'access-control-request-method': method,
    'access-control-request-headers': 'authorization,content-type,idempotency-key',
  },
});
const readableBy = (response: Response) => response.headers.get('access-control-allow-origin');

const CASES = ROUTES.map((route) => {
  const { method, path, access } = route;
  const filled = path.replace('outputs/{name}', 'outputs/a/b.png').replaceAll(/\{\w+\}/g, NOBODY);
  return {
    name: routeName(route),
    method: method.toUpperCase(),
    path: `/v1${filled}`,
    token: access !== 'open' && access.readToken !== undefined,
  };
});

describe.each(CASES)('$name', ({ method, path, token }) => {
  it(`may be read by ${token ? 'any page: it can have a read token' : 'the named origins only'}`, async () => {
    const seen = async (call: Call, origin: string) => {
      const asked = await call(path, preflight(origin, method));
      const answer = await call(path, of(origin, { method }));
      await answer.arrayBuffer();
      return [asked.status, readableBy(asked), readableBy(answer)];
    };
    const call = named('x');
    expect(await seen(call, PAGE)).toEqual([204, ...(token ? ['*', '*'] : [PAGE, PAGE])]);
    expect(await seen(call, OTHER)).toEqual([204, ...(token ? ['*', '*'] : [null, null])]);
    expect(await seen(ownApp({})('x'), PAGE)).toEqual([204, ...(token ? ['*', '*'] : [null, null])]);
    const everyone = ownApp({}, { CORS_ORIGINS: '["*"]' })('x');
    expect(await seen(everyone, OTHER)).toEqual([204, '*', '*']);
  });
});

describe('a preflight', () => {
  it('needs no key, reads nothing, and allows the requested headers without cookies', async () => {
    const reads = vi.spyOn(env.DB, 'prepare');
    onTestFinished(() => reads.mockRestore());
    const response = await named('')('/v1/jobs', preflight(PAGE, 'POST'));
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'access-control-allow-origin': PAGE,
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': 'authorization,content-type,idempotency-key',
      'access-control-max-age': '7200',
      vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
    });
    expect(response.headers.has('access-control-allow-credentials')).toBe(false);
    expect(response.body).toBeNull();
    expect(reads).not.toHaveBeenCalled();
  });

  it('allows exactly the methods that the origin may use on the path', async () => {
    const methods = async (call: Call, origin: string, asked: string, path = `/v1/jobs/${NOBODY}`) =>
      (await call(path, preflight(origin, asked))).headers.get('access-control-allow-methods');
    const call = named('');
    // What a read token shows, any page may read; cancel and erase are for the named ones, also in what a browser keeps
    // of this.
    expect(await methods(call, OTHER, 'GET')).toBe('GET, HEAD');
    expect(await methods(call, OTHER, 'DELETE')).toBeNull();
    expect(await methods(call, OTHER, 'GET', '/openapi.json')).toBe('GET, HEAD');
    const all = 'GET, HEAD, POST, PUT, PATCH, DELETE';
    expect(await methods(call, PAGE, 'GET')).toBe(all);
    expect(await methods(call, PAGE, 'DELETE')).toBe(all);
    expect(await methods(ownApp({}, { CORS_ORIGINS: '["*"]' })(''), OTHER, 'GET')).toBe(all);
  });

  it.each(['a b', 'x\u00e9', ',', 'a:b', ''])('allows no header for the invalid list %j', async (headers) => {
    const init = { method: 'OPTIONS', headers: new Headers({ origin: PAGE, 'access-control-request-method': 'GET' }) };
    init.headers.set('access-control-request-headers', headers);
    const response = await named('')('/v1/jobs', init);
    expect(response.headers.has('access-control-allow-headers')).toBe(false);
  });

  it('needs the headers of a browser; any other OPTIONS is a 405', async () => {
    expect((await anyone('/v1/jobs', { method: 'OPTIONS' })).status).toBe(401);
    expect((await anyone('/v1/jobs', of(PAGE, { method: 'OPTIONS' }))).status).toBe(401);
    expect((await anyone('/openapi.json', of(PAGE, { method: 'OPTIONS' }))).status).toBe(405);
  });
});

describe('a response', () => {
  it('exposes the headers of the API', async () => {
    answerRunpod();
    const made = await madeKey(`a${crypto.randomUUID()}`);
    const response = await named(made.key)('/v1/jobs', of(PAGE));
    expect(response.status).toBe(200);
    const exposed = response.headers.get('access-control-expose-headers')?.split(', ') ?? [];
    for (const name of [
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'ETag',
      'X-Request-Id',
      'Idempotent-Replayed',
      'Preference-Applied',
    ]) {
      expect(exposed).toContain(name);
    }
    expect(response.headers.get('vary')).toContain('Origin');
    // Also where no page asks: a cache must not give this answer to one.
    expect((await named(made.key)('/v1/jobs')).headers.get('vary')).toContain('Origin');
  });

  it('can be read by a page when it is a refusal', async () => {
    const response = await named('x')('/v1/jobs', of(PAGE));
    expect([response.status, readableBy(response)]).toEqual([401, PAGE]);
    const missing = await named('x')('/v1/nothing', of(PAGE));
    expect(readableBy(missing)).toBe(PAGE);
  });

  it('can be read by a page with a read token when it is a stream', async () => {
    answerRunpod();
    const made = await madeKey(`a${crypto.randomUUID()}`);
    const { id } = await submitted(made.call);
    const { token } = z
      .object({ token: z.string() })
      .parse(await (await made.call(`/v1/jobs/${id}/tokens`, { method: 'POST' })).json());
    const response = await anyone(`/v1/jobs/${id}/events?token=${token}`, of(OTHER));
    expect([response.status, readableBy(response)]).toEqual([200, '*']);
    await response.body?.cancel();
  });

  it.each(['/openapi.json', '/docs', '/problems/not_found', '/healthz'])(
    'may be read by any page on the public path %s',
    async (path) => {
      const response = await anyone(path, of(OTHER));
      expect([response.status, readableBy(response)]).toEqual([200, '*']);
    },
  );

  it.each(['/worker/jobs/x/claim', '/hooks/x'])('may not be read by pages on the machine path %s', async (path) => {
    const everyone = ownApp({}, { CORS_ORIGINS: '["*"]' })('x');
    expect(readableBy(await everyone(path, { ...of(OTHER), method: 'POST' }))).toBeNull();
    expect(readableBy(await everyone(path, preflight(OTHER, 'POST')))).toBeNull();
  });
});

describe('CORS_ORIGINS', () => {
  it.each([
    ['["https://app.example", "http://localhost:3000"]', true],
    ['["*"]', true],
    ['[]', true],
    ['["https://app.example/"]', false],
    ['["app.example"]', false],
    ['["https://*.example"]', false],
    ['["null"]', false],
    ['https://app.example', false],
  ])('%s: %s', (value, valid) => {
    expect(readConfig({ ...env, CORS_ORIGINS: value }).ok).toBe(valid);
  });

  it('compares whole origins', async () => {
    for (const origin of [
      `${PAGE}.evil.example`,
      `${PAGE}:8443`,
      'http://app.example',
      'null',
      'https://APP.example',
    ]) {
      expect(readableBy(await named('x')('/v1/jobs', of(origin)))).toBeNull();
    }
    expect(readableBy(await named('x')('/v1/jobs', of(PAGE, postJson({}))))).toBe(PAGE);
  });
});
