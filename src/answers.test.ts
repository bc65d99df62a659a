import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { signToken } from './providers/tokens.ts';
import { ADMIN_TOKEN, GRAPH, newClient, ORIGIN, ownGateway, PNG, postJson, submitted } from './testing/gateway.ts';
import { runAsWorker } from './testing/worker.ts';

/** Counts the objects that the gateway creates for a response, apart from its content. */

const Real = globalThis.Response;
let key: string;
let job: string;

beforeAll(async () => {
  const client = await newClient();
  key = client.key;
  job = (await submitted(client.call)).id;
  await runAsWorker(client.account, job, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
});

afterEach(() => vi.unstubAllGlobals());

/** Sends a request, and counts the responses that were created from another response. */
async function copiesFor(path: string, init: RequestInit = {}): Promise<{ status: number; copies: number }> {
  let copies = 0;
  const Counting = class extends Real {
    constructor(body?: BodyInit | null, given?: ResponseInit) {
      copies += given instanceof Real ? 1 : 0;
      super(body, given);
    }
  };
  vi.stubGlobal('Response', Counting);
  const headers = new Headers({ authorization: `Bearer ${key}`, origin: 'https://shop.example.com' });
  for (const [name, value] of new Headers(init.headers)) {
    headers.set(name, value);
  }
  const context = createExecutionContext();
  const answer = await ownGateway().fetch(new Request(ORIGIN + path, { ...init, headers }), env, context);
  await answer.arrayBuffer();
  await waitOnExecutionContext(context);
  return { status: answer.status, copies };
}

describe('a response', () => {
  it.each<[string, number, string, () => RequestInit]>([
    ['the health', 200, '/healthz', () => ({})],
    ['a page of the reference', 200, '/docs', () => ({})],
    ['the OpenAPI document', 200, '/openapi.json', () => ({})],
    ['a submit', 201, '/v1/jobs', () => postJson({ workflow: GRAPH })],
    ['a job', 200, '/v1/jobs/{job}', () => ({})],
    ['an output', 200, '/v1/jobs/{job}/outputs/a.png', () => ({})],
    ['a list', 200, '/v1/jobs?limit=1', () => ({})],
    ['a refused parameter', 400, '/v1/jobs?limit=x', () => ({})],
    ['a refused key', 401, '/v1/jobs', () => ({ headers: { authorization: 'Bearer x' } })],
    ['a refused method', 405, '/v1/jobs', () => ({ method: 'PATCH' })],
    ['a missing page', 404, '/nowhere', () => ({})],
    ['the operator', 200, '/v1/audit', () => ({ headers: { authorization: `Bearer ${ADMIN_TOKEN}` } })],
    [
      'a preflight',
      204,
      '/v1/jobs',
      () => ({ method: 'OPTIONS', headers: { 'access-control-request-method': 'GET' } }),
    ],
  ])('is created only once for %s', async (_, status, path, init) => {
    expect(await copiesFor(path.replace('{job}', job), init())).toEqual({ status, copies: 0 });
  });
});

describe('a key for signing', () => {
  it('is imported once for many tokens', async () => {
    const imported = vi.spyOn(crypto.subtle, 'importKey');
    const secret = `a secret of this test ${crypto.randomUUID()}`;
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      await signToken(secret, { purpose: 'worker', job, attempt }, Date.now());
    }
    expect(imported).toHaveBeenCalledTimes(1);
    imported.mockRestore();
  });
});
