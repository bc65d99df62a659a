import { beforeAll, describe, expect, it } from 'vitest';
import { anyone, PNG, problemOf, submitted } from '../../testing/gateway.ts';
import { as, madeKey, operator, type MadeKey } from '../../testing/keys.ts';
import { runAsWorker } from '../../testing/worker.ts';
import { routeName } from './route.ts';
import { ROUTES } from './routes.ts';

/** An unknown parameter is refused, because a misspelt filter must not look like one that works. */

let key: MadeKey;
let job: string;
const account = `a${crypto.randomUUID()}`;

beforeAll(async () => {
  key = await madeKey(account, { scopes: ['admin'] });
  job = (await submitted(key.call)).id;
  await runAsWorker(account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
});

const READS = ROUTES.flatMap((route) => {
  const { method, path: template, access } = route;
  if (method !== 'get' || access === 'open') {
    return [];
  }
  const name = routeName(route);
  const path = (): string =>
    `/v1${template}`
      .replace('outputs/{name}', 'outputs/a.png')
      .replace('{account}', account)
      .replace('{name}', 'default')
      .replace('{id}', job)
      .replace('{delivery}', job);
  const byUrlAlone = access.readToken === 'query';
  return [{ name, path, byUrlAlone, operatorOnly: name === 'GET /metrics' || name.endsWith('/debug') }];
});

describe.each(READS.filter(({ byUrlAlone }) => !byUrlAlone))('$name', ({ path, operatorOnly }) => {
  it.each(['foo=bar', 'stauts=queued', 'LIMIT=1', 'limit[]=1', '=', '%E2%82%AC', '__proto__=1', 'metadata=x'])(
    'refuses ?%s',
    async (query) => {
      const call = operatorOnly ? operator : key.call;
      const seen = await problemOf(await call(`${path()}?${query}`));
      expect(seen).toMatchObject({ status: 400, code: 'invalid_parameter' });
      expect(seen.detail).toContain(JSON.stringify(decodeURIComponent(query.split('=')[0] ?? '')));
    },
  );

  it('is refused for its key first', async () => {
    expect((await anyone(`${path()}?foo=bar`)).status).toBe(401);
  });
});

describe('a list of jobs', () => {
  it.each(['metadata.team=a&limit=1', 'status=queued&status=failed', 'created_after=2026-01-01T00:00:00Z'])(
    'accepts its filters: %s',
    async (query) => expect((await key.call(`/v1/jobs?${query}`)).status).toBe(200),
  );

  it('names its parameters when one is misspelled', async () => {
    const seen = await problemOf(await key.call('/v1/jobs?crated_after=2026-01-01T00:00:00Z'));
    expect(seen.detail).toMatch(/"crated_after".*created_after/);
  });
});

describe('a route that browsers open by URL', () => {
  it.each(READS.filter(({ byUrlAlone }) => byUrlAlone))(
    'accepts the parameters of EventSource libraries and pages: $name',
    async ({ path }) => {
      const answer = await key.call(`${path()}?lastEventId=&evs_preamble=1&_=1763712000000&v=2`);
      expect(answer.status).toBe(200);
      await answer.body?.cancel();
    },
  );
});

it('a read token in a query is not accepted as a key', async () => {
  const { token } = await (await key.call(`/v1/jobs/${job}/tokens`, { method: 'POST' })).json<{ token: string }>();
  expect((await anyone(`/v1/jobs/${job}?token=${token}`)).status).toBe(401);
  expect((await as(token)(`/v1/jobs/${job}?foo=bar`)).status).toBe(400);
});
