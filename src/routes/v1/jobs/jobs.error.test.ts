import { env } from 'cloudflare:workers';
import { runInDurableObject } from 'cloudflare:test';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  answerRunpod,
  GRAPH,
  newClient,
  ORIGIN,
  ownGateway,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { runAsWorker } from '../../../testing/worker.ts';

let account: string;
let key: string;
let call: Call;
let job: string;

beforeAll(async () => {
  ({ account, key, call } = await newClient());
  job = (await submitted(call)).id;
  await runAsWorker(account, job, [
    { name: 'a.png', content_type: 'image/png', bytes: PNG },
    { name: 'gone.png', content_type: 'image/png', bytes: PNG },
  ]);
});

describe('a list', () => {
  it.each(['0', '-1', '101', '1.5', 'ten', '', '1e1', '9999', '0x10'])('refuses limit=%s', async (limit) => {
    const seen = await problemOf(await call(`/v1/jobs?limit=${limit}`));
    expect(seen).toMatchObject({ status: 400, code: 'invalid_parameter' });
    expect(seen.detail).toContain('limit');
  });

  it.each(['done', '', 'QUEUED', 'constructor'])('refuses status=%s', async (status) => {
    expect(await problemOf(await call(`/v1/jobs?status=${status}`))).toMatchObject({
      status: 400,
      code: 'invalid_parameter',
    });
  });

  it.each(['', 'x', '%00', '%ff', 'YQ', btoa('a' + 'x'.repeat(36)), btoa("a' OR 1=1 --"), 'a'.repeat(5000)])(
    'refuses cursor=%s',
    async (cursor) => {
      expect(await problemOf(await call(`/v1/jobs?cursor=${cursor}`))).toMatchObject({
        status: 400,
        code: 'invalid_cursor',
      });
    },
  );
});

describe('an output', () => {
  it.each([
    'bytes=99999-',
    'bytes=-0',
    'bytes=5-2',
    'bytes=',
    'bytes=-',
    'bytes=a-b',
    'bytes=1',
    'bytes=0-1,x',
    'nonsense',
  ])('refuses the range "%s"', async (range) => {
    const response = await call(`/v1/jobs/${job}/outputs/a.png`, { headers: { range } });
    expect(response.headers.get('content-range')).toBe(`bytes */${PNG.length}`);
    expect(await problemOf(response)).toMatchObject({ status: 416, code: 'invalid_range' });
  });

  it('is refused when the client names another version', async () => {
    for (const headers of [{ 'if-match': '"x"' }, { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }]) {
      const response = await call(`/v1/jobs/${job}/outputs/a.png`, { headers });
      expect(await problemOf(response)).toMatchObject({ status: 412, code: 'precondition_failed' });
    }
  });

  it('is not found when its file is missing, for every kind of read', async () => {
    const { objects } = await env.BUCKET.list({ prefix: `outputs/${account}/${job}/` });
    await env.BUCKET.delete(objects.filter(({ key: at }) => at.endsWith('gone.png')).map(({ key: at }) => at));
    for (const init of [{}, { headers: { range: 'bytes=0-1' } }]) {
      expect(await problemOf(await call(`/v1/jobs/${job}/outputs/gone.png`, init))).toMatchObject({ status: 404 });
    }
    expect((await call(`/v1/jobs/${job}/outputs/gone.png`, { method: 'HEAD' })).status).toBe(404);
  });

  it.each(['b.png', 'a.png/', '/a.png', 'A.PNG', '%00', '%ff', '%E0%A4%A', 'a.png%00', 'constructor'])(
    'is not found by another name: %s',
    async (name) => {
      expect(await problemOf(await call(`/v1/jobs/${job}/outputs/${name}`))).toMatchObject({ status: 404 });
    },
  );
});

describe('events', () => {
  it.each(['x', '-1', '1.5', '9'.repeat(20), '1e3'])('do not resume after "%s"', async (after) => {
    const byQuery = await call(`/v1/jobs/${job}/events?after=${after}`);
    expect(await problemOf(byQuery)).toMatchObject({ status: 400, code: 'invalid_cursor' });
    const byHeader = await call(`/v1/jobs/${job}/events`, { headers: { 'last-event-id': after } });
    expect(await problemOf(byHeader)).toMatchObject({ status: 400, code: 'invalid_cursor' });
  });
});

describe('admission', () => {
  it('refuses a job over the limit with a Retry-After and stores nothing', async () => {
    answerRunpod();
    const full = await newClient();
    await env.ACCOUNT.getByName(full.account).setLimits({ jobs_in_flight: 1, max_queued: 0 });
    await submitted(full.call);
    const body = { workflow: GRAPH, inputs: [{ name: 'a.png', data: PNG.toBase64() }] };
    const response = await full.call('/v1/jobs', postJson(body));
    expect(response.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    expect(response.headers.get('x-should-retry')).toBe('true');
    expect(await problemOf(response)).toMatchObject({
      status: 429,
      code: 'queue_full',
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      'violated-policies': ['queued'],
    });
    expect((await storedOf(full.account)).objects).toBe(0);
  });

  it('is released when the job could not be created', async () => {
    const app = ownGateway();
    const JOB = Object.assign(Object.create(env.JOB) as typeof env.JOB, {
      getByName: () => ({ create: () => Promise.reject(new Error('no object today')) }),
    });
    const unlucky = await newClient();
    const headers = { authorization: `Bearer ${unlucky.key}`, 'content-type': 'application/json' };
    const request = new Request(`${ORIGIN}/v1/jobs`, { ...postJson({ workflow: GRAPH }), headers });
    expect((await app.fetch(request, { ...env, JOB })).status).toBe(500);
    const inFlight = await runInDurableObject(env.ACCOUNT.getByName(unlucky.account), (_, state) =>
      state.storage.sql.exec("SELECT count(*) AS n FROM slots WHERE state <> 'expired'").one(),
    );
    expect(inFlight).toEqual({ n: 0 });
  });
});

describe('a revoked key', () => {
  it('is refused within 30 s where it was used just before', async () => {
    let now = Date.now();
    const app = ownGateway({ clock: () => now });
    const list = () =>
      app.fetch(new Request(`${ORIGIN}/v1/jobs`, { headers: { authorization: `Bearer ${key}` } }), env);
    now += 60_000;
    expect((await list()).status).toBe(200);
    await env.DB.prepare('UPDATE keys SET revoked_at = 1 WHERE account = ?').bind(account).run();
    now += 30_000;
    expect((await list()).status).toBe(401);
  });
});
