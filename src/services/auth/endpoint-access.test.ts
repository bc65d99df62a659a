import { describe, expect, it } from 'vitest';
import { GRAPH, postJson, problemOf, storedOf } from '../../testing/gateway.ts';
import { madeKey, ownApp } from '../../testing/keys.ts';

const ENDPOINTS = JSON.stringify({
  default: { runpod_id: 'live' },
  both: { runpod_id: 'any', environment: 'any' },
  gpu: { runpod_id: 'live', environment: 'live' },
  cheap: { runpod_id: 'test', environment: 'test' },
});
const withKey = ownApp({}, { ENDPOINTS });
const newAccount = () => `a${crypto.randomUUID()}`;
const job = (endpoint?: string) => postJson({ workflow: GRAPH, ...(endpoint === undefined ? {} : { endpoint }) });

describe('endpoint access', () => {
  it.each([
    ['test', 'cheap'],
    ['test', 'both'],
    ['live', 'both'],
    ['live', 'gpu'],
    ['live', 'default'],
  ])('accepts %s keys for %s', async (environment, endpoint) => {
    const call = withKey((await madeKey(newAccount(), { environment })).key);
    expect((await call('/v1/jobs/dry-run', job(endpoint))).status).toBe(200);
  });

  it.each([
    ['test', 'gpu'],
    ['test', 'default'],
    ['live', 'cheap'],
  ])('rejects %s keys for %s and stores nothing', async (environment, endpoint) => {
    const account = newAccount();
    const call = withKey((await madeKey(account, { environment })).key);
    for (const path of ['/v1/jobs', '/v1/jobs/dry-run']) {
      const seen = await problemOf(await call(path, job(endpoint)));
      expect(seen).toMatchObject({ status: 403, code: 'endpoint_not_allowed' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it.each([
    ['live', 'default'],
    ['test', 'cheap'],
  ])('uses a default endpoint: for %s keys it is %s', async (environment, endpoint) => {
    const call = withKey((await madeKey(newAccount(), { environment })).key);
    const run = await call('/v1/jobs/dry-run', job());
    expect(await run.json()).toMatchObject({ endpoint });
  });

  it('rejects all test keys when no endpoint is marked for tests', async () => {
    const alone = ownApp({}, { ENDPOINTS: JSON.stringify({ default: { runpod_id: 'gpu' } }) });
    const call = alone((await madeKey(newAccount())).key);
    for (const body of [job(), job('default')]) {
      const seen = await problemOf(await call('/v1/jobs', body));
      expect(seen).toMatchObject({ status: 403, code: 'endpoint_not_allowed' });
    }
  });

  it("gives the same answer for existing and unknown endpoints outside the key's list", async () => {
    const call = withKey((await madeKey(newAccount(), { environment: 'live', endpoints: ['default'] })).key);
    expect((await call('/v1/jobs/dry-run', job())).status).toBe(200);
    for (const endpoint of ['cheap', 'nowhere', '__proto__']) {
      const seen = await problemOf(await call('/v1/jobs', job(endpoint)));
      expect(seen).toMatchObject({ status: 403, code: 'endpoint_not_allowed' });
      expect(seen.detail).toBe(`The key may use "default", not "${endpoint}".`);
    }
  });

  it('reports an unknown endpoint to a key without a list', async () => {
    const call = withKey((await madeKey(newAccount())).key);
    expect(await problemOf(await call('/v1/jobs', job('nowhere')))).toMatchObject({
      status: 422,
      code: 'unknown_endpoint',
    });
  });
});

describe('the node policy of a key', () => {
  it('applies to every job that the key submits', async () => {
    const call = withKey((await madeKey(newAccount(), { nodes: { deny: ['EmptyI*'] } })).key);
    const seen = await problemOf(await call('/v1/jobs', job()));
    expect(seen).toMatchObject({
      status: 422,
      code: 'node_not_allowed',
      errors: [{ pointer: '#/workflow/1/class_type' }],
    });
  });
});
