import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { BreakerState } from '../../../contract/endpoint.ts';
import type { EndpointRpc, Stub } from '../../../contract/rpc.ts';
import {
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { fakeRunpod, frozenClock, until } from '../../../testing/job.ts';

/** Endpoints of test/gateway-bindings.ts: they open after three failures, for 10 s, and hold two jobs in line. */

async function shut(endpoint: string): Promise<void> {
  for (const job of ['x', 'y', 'z']) {
    await env.ENDPOINT.getByName(endpoint).reportOutcome(job, 'failed', null);
  }
}

/** Fills the backlog of the endpoint with `jobs` waiting jobs. */
async function fill(endpoint: string, jobs: number): Promise<void> {
  for (let job = 0; job < jobs; job += 1) {
    await env.ENDPOINT.getByName(endpoint).acquire(`w${job}`);
  }
}

const submit = (call: Call, endpoint: string, init: RequestInit = {}) => {
  const { headers, ...rest } = postJson({ workflow: GRAPH, endpoint });
  return call('/v1/jobs', { ...rest, headers: { ...Object(headers), ...Object(init.headers) } });
};

/**
 * Submits until this isolate has heard that the endpoint is shut; gives the refusal. What it heard before is old by
 * then.
 */
async function refused(call: Call, endpoint: string, init: RequestInit = {}): Promise<Response> {
  frozenClock().pass(3_000);
  let answer = await submit(call, endpoint, init);
  await until(async () => {
    answer = await submit(call, endpoint, init);
    expect(answer.status).toBe(503);
  });
  return answer;
}

describe('a submit to an endpoint with an open circuit breaker', () => {
  it('is refused with a Retry-After when the queue is full', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await shut('frail-1');
    await fill('frail-1', 2);
    const answer = await refused(call, 'frail-1');
    expect(await problemOf(answer)).toMatchObject({ code: 'endpoint_unavailable' });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(10);
    expect(answer.headers.get('x-should-retry')).toBe('true');
  });

  it('stores, counts and spends nothing when it is refused, and its Idempotency-Key stays free', async () => {
    fakeRunpod();
    const { account, call } = await newClient();
    await shut('frail-2');
    await fill('frail-2', 2);
    const other = await newClient();
    await refused(other.call, 'frail-2');
    const data = PNG.toBase64();
    const body = { workflow: GRAPH, endpoint: 'frail-2', inputs: [{ name: 'a.png', data }] };
    const init = postJson(body);
    const headers = { ...Object(init.headers), 'idempotency-key': 'once' };
    expect((await call('/v1/jobs', { ...init, headers })).status).toBe(503);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    const quota = await env.ACCOUNT.getByName(account).quota();
    expect(quota.find(({ name }) => name === 'submits')).toMatchObject({ remaining: 120 });
    expect((await submit(call, 'default', { headers: { 'idempotency-key': 'once' } })).status).toBe(201);
  });

  it('gets the first response when it is repeated', async () => {
    fakeRunpod();
    const { call } = await newClient();
    const headers = { 'idempotency-key': 'again' };
    const first = await submit(call, 'frail-3', { headers });
    await shut('frail-3');
    await fill('frail-3', 2);
    await refused(call, 'frail-3');
    const again = await submit(call, 'frail-3', { headers });
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(await again.text()).toBe(await first.text());
  });

  it('is accepted while the queue is not full', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await shut('frail-4');
    await fill('frail-4', 1);
    await submitted(call, { endpoint: 'frail-4' });
    // By now this isolate knows.
    expect(await env.ENDPOINT.getByName('frail-4').breakerState()).toMatchObject({ mode: 'open' });
    expect((await submit(call, 'frail-4')).status).toBe(201);
  });

  it('is accepted while a fallback is available, and refused when the fallback is open too', async () => {
    fakeRunpod();
    const { call } = await newClient();
    await shut('leaning-1');
    await fill('leaning-1', 2);
    for (let count = 0; count < 5; count += 1) {
      expect((await submit(call, 'leaning-1')).status).toBe(201);
    }
    await shut('spare-1');
    const answer = await refused(call, 'leaning-1');
    expect(await problemOf(answer)).toMatchObject({ code: 'endpoint_unavailable' });
  });

  it('does not wait for an Endpoint object', async () => {
    fakeRunpod();
    const { call } = await newClient();
    const { promise, resolve } = Promise.withResolvers<BreakerState>();
    const asked: string[] = [];
    const spy = vi.spyOn(env.ENDPOINT, 'getByName').mockImplementation((name) => {
      asked.push(name);
      const acquire = () => promise.then(() => ({ kind: 'go', report: 'trouble' }));
      return { breakerState: () => promise, acquire } as unknown as Stub<EndpointRpc>;
    });
    onTestFinished(() => spy.mockRestore());
    expect((await submit(call, 'frail-5')).status).toBe(201);
    expect(asked).toContain('frail-5');
    resolve({ mode: 'closed', cause: null, retry_at: null, waiting: 0 });
  });
});
