import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { v1Routes } from './routes/v1/index.ts';
import type { LogEntry } from './providers/log.ts';
import { anyone, newClient, ORIGIN, ownGateway, postJson, problemOf } from './testing/gateway.ts';

describe('every response', () => {
  it('has the request id that the client chose', async () => {
    const response = await anyone('/v1/jobs', { headers: { 'x-request-id': 'mine-1.2_3' } });
    expect((await problemOf(response)).request_id).toBe('mine-1.2_3');
  });

  it.each(['', 'has space', 'x'.repeat(129), 'quote"', 'a,b', '<script>'])(
    'makes its own id in place of "%s"',
    async (given) => {
      const response = await anyone('/v1/jobs', { headers: { 'x-request-id': given } });
      expect((await problemOf(response)).request_id).toMatch(/^[0-9a-f-]{36}$/);
    },
  );
});

describe('the health of the gateway', () => {
  it('needs no key', async () => {
    for (const path of ['/healthz', '/readyz']) {
      const response = await anyone(path);
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({ status: 'ok' });
    }
  });

  it('is live but not ready when a setting is missing, and names the setting only in the log', async () => {
    const lines: LogEntry[] = [];
    const app = ownGateway({ log: (line) => lines.push(line) });
    const { TOKEN_SECRET: _, ...without } = env;
    const get = (path: string) => app.fetch(new Request(`${ORIGIN}${path}`), { ...without, RUNPOD_API_KEY: '' });
    expect((await get('/healthz')).status).toBe(200);
    for (const path of ['/readyz', '/v1/jobs', '/worker/jobs/x/claim', '/hooks/runpod/x/1', '/nothing']) {
      const response = await get(path);
      expect(response.status).toBe(503);
      const text = await response.text();
      expect(text).toContain('"misconfigured"');
      expect(text).not.toContain('TOKEN_SECRET');
    }
    const logged = JSON.stringify(lines.filter((line) => line.event === 'misconfigured'));
    expect(logged).toContain('TOKEN_SECRET');
    expect(logged).toContain('RUNPOD_API_KEY');
    expect(logged).not.toContain(env.ADMIN_TOKEN);
  });
});

describe('the OpenAPI document', () => {
  it('describes every route of v1, and needs no key', async () => {
    const response = await anyone('/openapi.json');
    expect(response.status).toBe(200);
    const document = await response.json<{ openapi: string; servers: unknown; paths: Record<string, object> }>();
    expect(document).toMatchObject({ openapi: '3.1.0', servers: [{ url: `${ORIGIN}/v1` }] });
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const routed = v1Routes.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(?:\{[^}]*\})?/g, '{$1}')}`);
    expect(described.sort()).toEqual(routed.sort());
  });
});

describe('an unknown path', () => {
  it.each(['/', '/v2/jobs', '/favicon.ico', '/v1x', '/%00', '/worker', '/problems/no_such_problem'])(
    'is a 404: %s',
    async (path) => {
      expect(await problemOf(await anyone(path))).toMatchObject({ status: 404, code: 'not_found' });
    },
  );

  it('is a 405 when only the method is wrong', async () => {
    const { call } = await newClient();
    for (const [method, path, allow] of [
      ['DELETE', '/v1/jobs', 'GET, HEAD, POST'],
      ['PUT', '/v1/assets', 'GET, HEAD, POST'],
      ['GET', '/v1/jobs/dry-run/cancel', 'POST'],
      ['PATCH', '/healthz', 'GET, HEAD'],
    ] as const) {
      const response = await call(path, { method });
      expect(response.headers.get('allow')?.split(', ').sort().join(', ')).toBe(allow);
      expect(await problemOf(response)).toMatchObject({ status: 405, code: 'method_not_allowed' });
    }
  });
});

describe('an error in the gateway', () => {
  /** An app whose database fails in the given way. */
  async function withBrokenDatabase(error: Error) {
    const { key } = await newClient();
    const lines: LogEntry[] = [];
    const app = ownGateway({ log: (line) => lines.push(line) });
    const DB = Object.assign(Object.create(env.DB) as D1Database, {
      prepare() {
        throw error;
      },
    });
    const request = new Request(`${ORIGIN}/v1/jobs`, { headers: { authorization: `Bearer ${key}` } });
    return { response: await app.fetch(request, { ...env, DB }), lines };
  }

  it('shows the client only the request id', async () => {
    const { response, lines } = await withBrokenDatabase(new Error('secret detail'));
    const seen = await problemOf(response);
    expect(seen).toMatchObject({ status: 500, code: 'internal' });
    expect(JSON.stringify(seen)).not.toMatch(/secret|\.ts|at /);
    expect(lines.find((line) => line.event === 'uncaught')).toMatchObject({ request_id: seen.request_id });
  });

  it.each(['retryable', 'overloaded'])('asks the client to retry when it is transient (%s)', async (mark) => {
    const { response } = await withBrokenDatabase(Object.assign(new Error('moved'), { [mark]: true }));
    expect(response.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(await problemOf(response)).toMatchObject({ status: 503, code: 'unavailable' });
  });
});

describe('the log', () => {
  it('has one line for each request, without query, body or key', async () => {
    const { key } = await newClient();
    const lines: LogEntry[] = [];
    const app = ownGateway({ log: (line) => lines.push(line) });
    const headers = { authorization: `Bearer ${key}`, ...postJson({}).headers };
    const url = `${ORIGIN}/v1/jobs/${key}?token=hidden`;
    await app.fetch(new Request(url, { ...postJson({ hidden: 'hidden' }), headers }), env);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ event: 'request', method: 'POST', status: 405 });
    expect(JSON.stringify(lines)).not.toContain('hidden');
    expect(JSON.stringify(lines)).not.toContain(key.slice(8));
  });
});
