import { env } from 'cloudflare:workers';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config/schema.ts';
import { ORIGIN } from '../../testing/gateway.ts';
import type { AppEnv } from '../http/app-env.ts';
import { described } from './answers.ts';
import { deprecationHeaders } from './deprecation.ts';
import { ROUTE_ACCESS, type Deprecated, type RouteAccess } from './route-access.ts';
import { newV1App } from './v1-app.ts';

const deprecated = { since: '2026-11-01', sunset: '2027-06-01', successor: '/jobs' };
const TABLE: Record<string, RouteAccess> = {
  'GET /old/:id': { scope: 'jobs:read', deprecated },
  'GET /older': { scope: 'jobs:read', deprecated: { ...deprecated, sunset: null, successor: null } },
  'GET /new': { scope: 'jobs:read' },
};

/** A gateway with routes that only this test has. */
async function get(path: string): Promise<Headers> {
  const door = newV1App();
  door.use(deprecationHeaders(TABLE));
  door.get('/old/:id', (c) => (c.req.param('id') === 'gone' ? c.text('no', 404) : c.text('yes')));
  door.get('/older', (c) => c.text('yes'));
  door.get('/new', (c) => c.text('yes'));
  const app = new Hono<AppEnv>();
  app.use(async (c, next) => {
    c.set('core', { env, config: requireConfig(env), clock: () => 0, newId: () => '', newSeed: () => 0 });
    await next();
  });
  app.route('/v1', door);
  return (await app.fetch(new Request(`${ORIGIN}/v1${path}`), env)).headers;
}

const route = (path: string) =>
  ({ method: 'get', path, operationId: 'old', responses: { 200: { description: 'Still there' } } }) as const;

describe('a deprecated route', () => {
  it('says since when, until when, and what to use instead', async () => {
    const headers = await get('/old/1');
    expect(headers.get('deprecation')).toBe('@1793491200');
    expect(new Date(1_793_491_200_000).toISOString()).toBe('2026-11-01T00:00:00.000Z');
    expect(headers.get('sunset')).toBe('Tue, 01 Jun 2027 00:00:00 GMT');
    expect(headers.get('link')).toBe(
      `<${ORIGIN}/v1/jobs>; rel="successor-version", <${ORIGIN}/docs>; rel="deprecation"; type="text/html"`,
    );
  });

  it('says so on refusals too', async () => {
    expect((await get('/old/gone')).has('deprecation')).toBe(true);
  });

  it('names no end and no successor where none is decided', async () => {
    const headers = await get('/older');
    expect(headers.get('deprecation')).toBe('@1793491200');
    expect(headers.has('sunset')).toBe(false);
    expect(headers.get('link')).not.toContain('successor-version');
  });

  it('is marked in the OpenAPI document, with the headers it sends', () => {
    const description = described(route('/old/{id}'), TABLE);
    expect(description.deprecated).toBe(true);
    expect(description.responses[200]).toMatchObject({
      headers: { Deprecation: expect.anything(), Sunset: expect.anything(), Link: expect.anything() },
    });
    expect(description.responses[401]).toMatchObject({ headers: { Deprecation: expect.anything() } });
  });
});

describe('every other route', () => {
  it('says nothing of it', async () => {
    const headers = await get('/new');
    expect([...headers.keys()]).not.toEqual(expect.arrayContaining([expect.stringMatching(/deprecation|sunset|link/)]));
    expect(described(route('/new'), TABLE)).not.toHaveProperty('deprecated');
  });

  it('of the real table that is deprecated has dates, and an end that leaves callers half a year', () => {
    const isRushed = ({ since, sunset }: Deprecated): boolean =>
      Number.isNaN(Date.parse(since)) ||
      (sunset !== null && !(Date.parse(sunset) - Date.parse(since) >= 180 * 86_400_000));
    const ends = Object.values(ROUTE_ACCESS).flatMap((access) =>
      access === 'open' || access.deprecated === undefined ? [] : [access.deprecated],
    );
    expect(ends.filter(isRushed)).toEqual([]);
    expect(
      [deprecated, { ...deprecated, sunset: '2026-12-01' }, { ...deprecated, since: 'soon' }].map(isRushed),
    ).toEqual([false, true, true]);
  });
});
