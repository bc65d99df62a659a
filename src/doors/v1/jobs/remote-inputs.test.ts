import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { jobStub } from '../../../objects/stubs.ts';
import { assetKey } from '../../../storage/keys.ts';
import { GRAPH, newClient, PNG, postJson, problemOf, storedOf } from '../../../testing/gateway.ts';
import { jobSchema } from '../schemas.ts';

/** The internet for the rest of the test: what each URL answers. RunPod takes every run. */
function internet(answers: Record<string, () => Response>): { fetched: string[] } {
  const fetched: string[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input) => {
    const url = input instanceof Request ? input.url : String(input);
    if (url.startsWith('https://runpod.test/')) {
      return Promise.resolve(Response.json({ id: 'run-1', status: 'IN_QUEUE' }));
    }
    fetched.push(url);
    const answer = answers[url];
    return answer === undefined ? Promise.reject(new TypeError('no route')) : Promise.resolve(answer());
  });
  onTestFinished(() => spy.mockRestore());
  return { fetched };
}

const withUrl = (url: string) => postJson({ workflow: GRAPH, inputs: [{ name: 'a.png', url }] });

describe('an input by URL', () => {
  it('is fetched, sniffed and stored like an upload', async () => {
    const { fetched } = internet({
      'https://files.example.com/a': () => new Response(PNG, { headers: { 'content-type': 'text/html' } }),
    });
    const { account, call } = await newClient();
    const response = await call('/v1/jobs', withUrl('https://files.example.com/a'));
    expect(response.status).toBe(201);
    const { id } = jobSchema.parse(await response.json());
    const claimed = await jobStub(env, id).claim({
      attempt: 1,
      claim: crypto.randomUUID(),
      worker: { id: 'w', version: '0' },
    });
    const [input] = 'granted' in claimed ? claimed.granted.inputs : [];
    expect(input).toMatchObject({ name: 'a.png', content_type: 'image/png', size_bytes: PNG.length });
    expect(await env.BUCKET.head(assetKey(account, input?.sha256 ?? ''))).not.toBeNull();
    expect(fetched).toEqual(['https://files.example.com/a']);
  });

  it('is followed over redirects, each checked like the first', async () => {
    internet({
      'https://a.example.com/1': () => new Response(null, { status: 302, headers: { location: '/2' } }),
      'https://a.example.com/2': () => new Response(PNG),
    });
    const { call } = await newClient();
    expect((await call('/v1/jobs', withUrl('https://a.example.com/1'))).status).toBe(201);
  });

  it.each(['http://169.254.169.254/latest/meta-data', 'https://10.0.0.1/x', 'https://localhost/x'])(
    'is refused when a redirect leads inside, to %s',
    async (inside) => {
      const { fetched } = internet({
        'https://a.example.com/1': () => new Response(null, { status: 301, headers: { location: inside } }),
      });
      const { account, call } = await newClient();
      const problem = await problemOf(await call('/v1/jobs', withUrl('https://a.example.com/1')));
      expect(problem).toMatchObject({
        status: 422,
        code: 'input_url_refused',
        errors: [{ pointer: '#/inputs/0/url' }],
      });
      expect(fetched).toEqual(['https://a.example.com/1']);
      expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    },
  );

  it.each([
    'http://files.example.com/a',
    'https://127.0.0.1/a',
    'https://[::ffff:10.0.0.1]/',
    'ftp://x.example.com/',
    'https://user:pw@x.example.com/',
    'https://gateway.test/v1/jobs',
  ])('is refused before anything is fetched: %s', async (url) => {
    const { fetched } = internet({});
    const { call } = await newClient();
    expect(await problemOf(await call('/v1/jobs', withUrl(url)))).toMatchObject({
      status: 422,
      code: 'input_url_refused',
    });
    expect(fetched).toEqual([]);
  });

  it.each([
    ['answers 404', () => new Response('gone', { status: 404 }), 'input_fetch_failed'],
    ['is empty', () => new Response(new Uint8Array()), 'empty_file'],
    ['is no file of use', () => new Response(new Uint8Array(100)), 'unsupported_media'],
    [
      'says it is too large',
      () => new Response(PNG, { headers: { 'content-length': '999999999999' } }),
      'file_too_large',
    ],
    [
      'redirects for ever',
      () => new Response(null, { status: 302, headers: { location: 'https://a.example.com/1' } }),
      'input_fetch_failed',
    ],
  ] as const)('that %s is a fault of the request, and nothing is stored', async (_what, answer, code) => {
    internet({ 'https://a.example.com/1': answer });
    const { account, call } = await newClient();
    const problem = await problemOf(await call('/v1/jobs', withUrl('https://a.example.com/1')));
    expect(problem).toMatchObject({ code, errors: [{ pointer: '#/inputs/0/url', code }] });
    expect(problem.status).toBeLessThan(500);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is not fetched for a request that has another fault', async () => {
    const { fetched } = internet({ 'https://a.example.com/1': () => new Response(PNG) });
    const { call } = await newClient();
    const response = await call(
      '/v1/jobs',
      postJson({ workflow: GRAPH, endpoint: 'nope', inputs: [{ name: 'a.png', url: 'https://a.example.com/1' }] }),
    );
    expect(response.status).toBe(422);
    expect(fetched).toEqual([]);
  });
});

describe('a repeated request with an input by URL', () => {
  const URL_A = 'https://files.example.com/a';
  const keyed = (key: string, body: BodyInit = String(withUrl(URL_A).body)): RequestInit => ({
    ...withUrl(URL_A),
    body,
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
  });

  it('gets its job and fetches nothing, even when the file is no longer there', async () => {
    let there = true;
    const { fetched } = internet({ [URL_A]: () => new Response(there ? PNG : null, { status: there ? 200 : 404 }) });
    const { call } = await newClient();
    const first = await call('/v1/jobs', keyed('k'));
    expect(first.status).toBe(201);
    there = false;
    const again = await call('/v1/jobs', keyed('k'));
    expect([again.status, again.headers.get('idempotent-replayed')]).toEqual([201, 'true']);
    expect(await again.text()).toBe(await first.text());
    expect(fetched).toEqual([URL_A]);
  });

  it('fetches nothing for another body under the same key', async () => {
    const { fetched } = internet({
      [URL_A]: () => new Response(PNG),
      'https://b.example.com/': () => new Response(PNG),
    });
    const { call } = await newClient();
    await call('/v1/jobs', keyed('k'));
    const other = await call('/v1/jobs', keyed('k', String(withUrl('https://b.example.com/').body)));
    expect(await problemOf(other)).toMatchObject({ status: 422, code: 'idempotency_key_reuse' });
    expect(fetched).toEqual([URL_A]);
  });

  it('fetches nothing once its job is over and erased', async () => {
    const { fetched } = internet({ [URL_A]: () => new Response(PNG) });
    const { account, call } = await newClient();
    const { id } = jobSchema.parse(await (await call('/v1/jobs', keyed('k'))).json());
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await call(`/v1/jobs/${id}`, { method: 'DELETE' });
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
    expect(await problemOf(await call('/v1/jobs', keyed('k')))).toMatchObject({ code: 'idempotency_key_reuse' });
    expect(fetched).toEqual([URL_A]);
  });

  it('is free to be sent again when the file could not be had', async () => {
    let there = false;
    internet({ [URL_A]: () => new Response(there ? PNG : null, { status: there ? 200 : 404 }) });
    const { call } = await newClient();
    expect(await problemOf(await call('/v1/jobs', keyed('k')))).toMatchObject({ code: 'input_fetch_failed' });
    there = true;
    expect((await call('/v1/jobs', keyed('k'))).status).toBe(201);
  });
});
