import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ADMIN_TOKEN, newClient, problemOf } from '../../../testing/gateway.ts';
import { fakeRunpod, frozenClock, runpodHealth } from '../../../testing/job.ts';
import { as, madeKey } from '../../../testing/keys.ts';
import { endpointListSchema, endpointSchema } from './schemas.ts';

const operator = as(ADMIN_TOKEN);

describe('an endpoint', () => {
  it('shows its workers, its queue and its circuit breaker', async () => {
    const runpod = fakeRunpod();
    runpod.answer.health = () => runpodHealth({ idle: 1, running: 2, throttled: 1 }, 3);
    const { call } = await newClient();
    const answer = await call('/v1/endpoints/frail-1');
    expect(answer.status).toBe(200);
    expect(endpointSchema.parse(await answer.json())).toMatchObject({
      name: 'frail-1',
      environment: 'any',
      breaker: { state: 'closed', cause: null, retry_at: null },
      workers: { idle: 1, initializing: 0, ready: 0, running: 2, throttled: 1, unhealthy: 0 },
      queue: { held: 0, queued: 3, running: 0 },
      fallback: null,
      price: null,
      limits: { max_pixels: null, on_limit: 'refuse' },
    });
  });

  it('shows an open breaker with cause, time and queue', async () => {
    fakeRunpod();
    const { call } = await newClient();
    for (const job of ['x', 'y', 'z']) {
      await env.ENDPOINT.getByName('leaning-1').reportOutcome(job, 'failed', null);
    }
    await env.ENDPOINT.getByName('leaning-1').acquire('w');
    const seen = endpointSchema.parse(await (await call('/v1/endpoints/leaning-1')).json());
    expect(seen).toMatchObject({
      breaker: { state: 'open', cause: 'failing' },
      queue: { held: 1 },
      fallback: 'spare-1',
    });
    expect(Date.parse(seen.breaker?.retry_at ?? '')).toBeGreaterThan(Date.now());
  });

  it('shows null for unknown values when RunPod does not answer', async () => {
    const runpod = fakeRunpod();
    runpod.answer.health = () => new Response('', { status: 500 });
    const { call } = await newClient();
    const seen = endpointSchema.parse(await (await call('/v1/endpoints/frail-2')).json());
    expect(seen).toMatchObject({ workers: null, checked_at: null, queue: { held: 0, queued: null, running: null } });
  });

  it('never shows RunPod’s id', async () => {
    fakeRunpod();
    const { call } = await newClient();
    const text = await (await call('/v1/endpoints/default')).text();
    expect(text).not.toContain('ep1');
    expect(text).not.toContain('runpod_id');
  });
});

describe('the list of endpoints', () => {
  const namesFor = async (call: Awaited<ReturnType<typeof newClient>>['call']): Promise<string[]> => {
    const answer = await call('/v1/endpoints');
    expect(answer.status).toBe(200);
    return endpointListSchema.parse(await answer.json()).data.map(({ name }) => name);
  };

  it('has every endpoint that the key may use, by name', async () => {
    fakeRunpod();
    const { account, call } = await newClient();
    const all = await namesFor(call);
    expect(all).toEqual([...all].sort());
    expect(all).toEqual(expect.arrayContaining(['default', 'narrow', 'frail-1']));
    const bounded = await madeKey(account, { endpoints: ['narrow', 'leaning-2'] });
    expect(await namesFor(bounded.call)).toEqual(['leaning-2', 'narrow']);
  });

  it('asks RunPod once for each endpoint within a few seconds', async () => {
    const runpod = fakeRunpod();
    // What another test has read is old by then.
    frozenClock().pass(3_000);
    const { account } = await newClient();
    const bounded = await madeKey(account, { endpoints: ['frail-3', 'frail-4'] });
    await Promise.all(Array.from({ length: 10 }, () => namesFor(bounded.call)));
    expect(runpod.count('health')).toBe(2);
  });
});

describe('an endpoint that the key may not use', () => {
  it('is not found, and is not shown as a fallback', async () => {
    fakeRunpod();
    const { account } = await newClient();
    const bounded = await madeKey(account, { endpoints: ['leaning-3'] });
    const headers = { 'x-request-id': 'same' };
    const [foreign, missing] = await Promise.all(
      ['spare-3', 'nowhere'].map((name) => bounded.call(`/v1/endpoints/${name}`, { headers })),
    );
    expect(foreign?.status).toBe(404);
    expect(await foreign?.text()).toBe(await missing?.text());
    const seen = endpointSchema.parse(await (await bounded.call('/v1/endpoints/leaning-3')).json());
    expect(seen.fallback).toBeNull();
  });

  it.each(['__proto__', 'constructor', '%2e%2e', 'a%2fb'])('called %s is not found', async (name) => {
    fakeRunpod();
    const { call } = await newClient();
    expect(await problemOf(await call(`/v1/endpoints/${name}`))).toMatchObject({ status: 404 });
  });
});

describe('a worker’s report', () => {
  const report = {
    status: 'ok',
    environment_names: ['HOME'],
    disk: [{ free: 9_007_199_254_740_991 }],
    log: ['a', 'b'],
  };

  it.each([
    ['', 'debug'],
    ['?action=debug', 'debug'],
    ['?action=health', 'health'],
  ])('is requested as a separate run and returned unchanged: "%s"', async (query, action) => {
    const runpod = fakeRunpod();
    runpod.answer.status = () => Response.json({ id: 'r', status: 'COMPLETED', output: report });
    const answer = await operator(`/v1/endpoints/default/debug${query}`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual(report);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const run = runpod.calls.find(({ operation }) => operation === 'run')?.body;
    const input = action === 'debug' ? { action, catalog: true } : { action };
    expect(run).toEqual({ input, policy: { executionTimeout: 90_000, ttl: 90_000 } });
  });

  it('is canceled when it does not come in time', async () => {
    const runpod = fakeRunpod();
    const answer = await operator('/v1/endpoints/default/debug?wait=1');
    const seen = await problemOf(answer);
    expect(seen).toMatchObject({ status: 504, code: 'no_worker_report' });
    expect(seen.detail).toContain('queued');
    expect(answer.headers.get('x-should-retry')).toBe('true');
    expect(runpod.count('cancel')).toBe(1);
  });

  it.each(['FAILED', 'CANCELLED', 'TIMED_OUT', 'COMPLETED'])('is missing when its run is %s', async (status) => {
    const runpod = fakeRunpod();
    runpod.answer.status = () => Response.json({ id: 'r', status, error: 'Traceback /secret/path' });
    const seen = await problemOf(await operator('/v1/endpoints/default/debug'));
    expect(seen).toMatchObject({ status: 504, code: 'no_worker_report' });
    expect(JSON.stringify(seen)).not.toContain('/secret/path');
  });

  it.each([401, 429, 500])('is not waited for when RunPod answers /run with %d', async (status) => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response('test-runpod-key', { status });
    const seen = await problemOf(await operator('/v1/endpoints/default/debug'));
    expect(seen).toMatchObject({ status: 504, code: 'no_worker_report' });
    expect(JSON.stringify(seen)).not.toContain('test-runpod-key');
    expect(runpod.count('status')).toBe(0);
  });

  it.each(['?action=reboot', '?wait=0', '?wait=91', '?wait=x'])('is not requested with %s', async (query) => {
    const runpod = fakeRunpod();
    const seen = await problemOf(await operator(`/v1/endpoints/default/debug${query}`));
    expect(seen).toMatchObject({ status: 400, code: 'invalid_parameter' });
    expect(runpod.calls).toEqual([]);
  });

  it('is refused to an admin key, and nothing runs', async () => {
    const runpod = fakeRunpod();
    const { account } = await newClient();
    const admin = await madeKey(account, { scopes: ['admin'] });
    expect(await problemOf(await admin.call('/v1/endpoints/default/debug'))).toMatchObject({
      status: 403,
      code: 'insufficient_scope',
    });
    expect(await problemOf(await operator('/v1/endpoints/nowhere/debug'))).toMatchObject({ status: 404 });
    expect(runpod.calls).toEqual([]);
  });
});
