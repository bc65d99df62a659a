import { env } from 'cloudflare:workers';
import { OpenAPIHono } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config/schema.ts';
import { ORIGIN } from '../../testing/gateway.ts';
import type { AppEnv } from '../http/app-env.ts';
import { deprecationHeaders } from './deprecation.ts';
import { mount, routeFinder } from './mount.ts';
import { operationOf } from './operation.ts';
import { defineRoute, type Deprecated } from './route.ts';
import { ROUTES } from './routes.ts';

const deprecated = { since: '2026-11-01', sunset: '2027-06-01', successor: '/jobs' };
const base = {
  method: 'get',
  access: { scope: 'jobs:read' },
  operationId: 'old',
  summary: 'Old',
  responses: { 200: { description: 'Still there' } },
} as const;

const old = defineRoute({
  ...base,
  path: '/old/{id}',
  deprecated,
  handle: (c) => (c.req.param('id') === 'gone' ? c.text('no', 404) : c.text('yes')),
});
const older = defineRoute({
  ...base,
  path: '/older',
  deprecated: { ...deprecated, sunset: null, successor: null },
  handle: (c) => c.text('yes'),
});
const current = defineRoute({ ...base, path: '/new', handle: (c) => c.text('yes') });

/** A gateway with routes that only this test has. */
async function get(path: string): Promise<Headers> {
  const routes = [old, older, current];
  const v1 = new OpenAPIHono<AppEnv>();
  v1.use(deprecationHeaders(routeFinder(routes)));
  mount(v1, routes);
  const app = new Hono<AppEnv>();
  app.use(async (c, next) => {
    c.set('context', { env, config: requireConfig(env), clock: () => 0, newId: () => '', newSeed: () => 0 });
    await next();
  });
  app.route('/v1', v1);
  return (await app.fetch(new Request(`${ORIGIN}/v1${path}`), env)).headers;
}

describe('a deprecated route', () => {
  it('reports its deprecation, its sunset and its successor', async () => {
    const headers = await get('/old/1');
    expect(headers.get('deprecation')).toBe('@1793491200');
    expect(new Date(1_793_491_200_000).toISOString()).toBe('2026-11-01T00:00:00.000Z');
    expect(headers.get('sunset')).toBe('Tue, 01 Jun 2027 00:00:00 GMT');
    expect(headers.get('link')).toBe(
      `<${ORIGIN}/v1/jobs>; rel="successor-version", <${ORIGIN}/docs>; rel="deprecation"; type="text/html"`,
    );
  });

  it('reports it on refusals too', async () => {
    expect((await get('/old/gone')).has('deprecation')).toBe(true);
  });

  it('leaves out an undecided sunset and successor', async () => {
    const headers = await get('/older');
    expect(headers.get('deprecation')).toBe('@1793491200');
    expect(headers.has('sunset')).toBe(false);
    expect(headers.get('link')).not.toContain('successor-version');
  });

  it('is marked in the OpenAPI document, with the headers it sends', () => {
    const description = operationOf(old);
    expect(description.deprecated).toBe(true);
    expect(description.responses[200]).toMatchObject({
      headers: { Deprecation: expect.anything(), Sunset: expect.anything(), Link: expect.anything() },
    });
    expect(description.responses[401]).toMatchObject({ headers: { Deprecation: expect.anything() } });
  });
});

describe('every other route', () => {
  it('has no deprecation headers', async () => {
    const headers = await get('/new');
    expect([...headers.keys()]).not.toEqual(expect.arrayContaining([expect.stringMatching(/deprecation|sunset|link/)]));
    expect(operationOf(current)).not.toHaveProperty('deprecated');
  });
});

describe('a deprecated route of v1', () => {
  it('has dates and at least 180 days until its sunset', () => {
    const isRushed = ({ since, sunset }: Deprecated): boolean =>
      Number.isNaN(Date.parse(since)) ||
      (sunset !== null && !(Date.parse(sunset) - Date.parse(since) >= 180 * 86_400_000));
    const ends = ROUTES.flatMap((route) => (route.deprecated === undefined ? [] : [route.deprecated]));
    expect(ends.filter(isRushed)).toEqual([]);
    expect(
      [deprecated, { ...deprecated, sunset: '2026-12-01' }, { ...deprecated, since: 'soon' }].map(isRushed),
    ).toEqual([false, true, true]);
  });
});
