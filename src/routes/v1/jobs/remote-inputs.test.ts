import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { FETCH_TIMEOUT_MS } from '../../../services/assets/fetch.ts';
import { FETCH_ALL_TIMEOUT_MS } from '../../../services/jobs/inputs.ts';
import { assetKey } from '../../../storage/r2/keys.ts';
import {
  GRAPH,
  newClient,
  ORIGIN,
  ownGateway,
  pictureOf,
  PNG,
  postJson,
  problemOf,
  storedOf,
} from '../../../testing/gateway.ts';
import { batchSchema, jobSchema } from '../schemas.ts';

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
    const claimed = await env.JOB.getByName(id).claim({
      attempt: 1,
      claim: crypto.randomUUID(),
      worker: { id: 'w', version: '0' },
    });
    const [input] = 'granted' in claimed ? claimed.granted.inputs : [];
    expect(input).toMatchObject({ name: 'a.png', content_type: 'image/png', size_bytes: PNG.length });
    expect(await env.BUCKET.head(assetKey(account, input?.sha256 ?? ''))).not.toBeNull();
    expect(fetched).toEqual(['https://files.example.com/a']);
  });

  it('follows redirects and checks each like the first URL', async () => {
    internet({
      'https://a.example.com/1': () => new Response(null, { status: 302, headers: { location: '/2' } }),
      'https://a.example.com/2': () => new Response(PNG),
    });
    const { call } = await newClient();
    expect((await call('/v1/jobs', withUrl('https://a.example.com/1'))).status).toBe(201);
  });

  it.each(['http://169.254.169.254/latest/meta-data', 'https://10.0.0.1/x', 'https://localhost/x'])(
    'is refused when a redirect leads to %s',
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
  ])('is refused before any fetch: %s', async (url) => {
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
    ['has an unsupported type', () => new Response(new Uint8Array(100)), 'unsupported_media'],
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
  ] as const)('is refused without a stored file when it %s', async (_what, answer, code) => {
    internet({ 'https://a.example.com/1': answer });
    const { account, call } = await newClient();
    const problem = await problemOf(await call('/v1/jobs', withUrl('https://a.example.com/1')));
    expect(problem).toMatchObject({ code, errors: [{ pointer: '#/inputs/0/url', code }] });
    expect(problem.status).toBeLessThan(500);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is not fetched for a request with another issue', async () => {
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

describe('the time of an input by URL', () => {
  const SLOW = 'https://slow.example.com/a';

  /** The other side for the rest of the test, and time that passes when the test lets it. */
  function slowSide(answer: (signal: AbortSignal) => Promise<Response>): { asked: () => boolean } {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    let asked = false;
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((_input, init) => {
      asked = true;
      return answer(init?.signal ?? AbortSignal.any([]));
    });
    onTestFinished(() => {
      spy.mockRestore();
      vi.useRealTimers();
    });
    return { asked: () => asked };
  }

  /** Submits, and lets time pass up to a millisecond before the limit, then beyond. */
  async function timedOut(asked: () => boolean) {
    const { account, key } = await newClient();
    const request = new Request(`${ORIGIN}/v1/jobs`, withUrl(SLOW));
    request.headers.set('authorization', `Bearer ${key}`);
    let answered = false;
    const answer = ownGateway()
      .fetch(request, env)
      .finally(() => {
        answered = true;
      });
    await vi.waitUntil(asked);
    await vi.advanceTimersByTimeAsync(FETCH_TIMEOUT_MS - 5_000);
    expect(answered).toBe(false);
    await vi.advanceTimersByTimeAsync(5_000);
    return { problem: await problemOf(await answer), stored: await storedOf(account) };
  }

  const late = {
    problem: { status: 422, code: 'input_fetch_failed', detail: 'The file did not arrive in time.' },
    stored: { jobs: 0, objects: 0 },
  };

  it('ends after 30 s when the host does not answer', async () => {
    expect(FETCH_TIMEOUT_MS).toBe(30_000);
    const { asked } = slowSide(
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('aborted')));
        }),
    );
    expect(await timedOut(asked)).toMatchObject(late);
  });

  it('ends for all files of a request together after 90 s', async () => {
    expect(FETCH_ALL_TIMEOUT_MS).toBe(90_000);
    let asked = 0;
    slowSide((signal) => {
      asked += 1;
      return new Promise((_, reject) => {
        if (signal.aborted) {
          reject(new Error('aborted'));
        }
        signal.addEventListener('abort', () => reject(new Error('aborted')));
      });
    });
    const { account, key } = await newClient();
    const inputs = Array.from({ length: 5 }, (_, at) => ({ name: `${at}.png`, url: `${SLOW}${at}` }));
    const request = new Request(`${ORIGIN}/v1/jobs`, postJson({ workflow: GRAPH, inputs }));
    request.headers.set('authorization', `Bearer ${key}`);
    const answer = ownGateway().fetch(request, env);
    for (const nth of [1, 2, 3]) {
      await vi.waitUntil(() => asked === nth);
      await vi.advanceTimersByTimeAsync(FETCH_TIMEOUT_MS);
    }
    const problem = await problemOf(await answer);
    expect(problem.errors).toHaveLength(inputs.length);
    expect(await storedOf(account)).toEqual(late.stored);
  });

  it('ends for all files of a batch together after 90 s', async () => {
    // Every file hangs for 30 s: six jobs at a time, of three files each, would take 180 s.
    const jobs = Array.from({ length: 12 }, (_, job) => ({
      workflow: GRAPH,
      inputs: [1, 2, 3].map((at) => ({ name: `${at}.png`, url: `${SLOW}${job}-${at}` })),
    }));
    let asked = 0;
    slowSide((signal) => {
      asked += 1;
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted')));
        if (signal.aborted) {
          reject(new Error('aborted'));
        }
      });
    });
    const { account, key } = await newClient();
    const request = new Request(`${ORIGIN}/v1/jobs/batch`, postJson({ jobs }));
    request.headers.set('authorization', `Bearer ${key}`);
    const answer = ownGateway().fetch(request, env);
    for (const round of [1, 2, 3]) {
      await vi.waitUntil(() => asked === round * 6);
      await vi.advanceTimersByTimeAsync(FETCH_TIMEOUT_MS);
    }
    const { data } = batchSchema.parse(await (await answer).json());
    expect(data.map((item) => 'problem' in item && item.problem?.code)).toEqual(jobs.map(() => 'input_fetch_failed'));
    expect(await storedOf(account)).toEqual(late.stored);
  });

  it('counts over all redirects together', async () => {
    let hops = 0;
    const { asked } = slowSide(async (signal) => {
      hops += 1;
      await new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted')));
        setTimeout(resolve, 12_000);
      });
      return new Response(null, { status: 302, headers: { location: `${SLOW}${hops}` } });
    });
    expect(await timedOut(asked)).toMatchObject(late);
    expect(hops).toBe(3);
  });

  it('ends in the middle of a stalled body', async () => {
    let dropped = false;
    const { asked } = slowSide(() => {
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          controller.enqueue(PNG.slice(0, 20));
          return new Promise(() => {});
        },
        cancel() {
          dropped = true;
        },
      });
      return Promise.resolve(new Response(body));
    });
    expect(await timedOut(asked)).toMatchObject(late);
    expect(dropped).toBe(true);
  });

  it('ends in the middle of a slow body that ignores its cancellation', async () => {
    let dropped = false;
    const { asked } = slowSide(() => {
      let at = 0;
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          controller.enqueue(PNG.slice(at, at + 1));
          at += 1;
          await new Promise((resolve) => {
            setTimeout(resolve, 1_000);
          });
        },
        cancel() {
          dropped = true;
        },
      });
      return Promise.resolve(new Response(body));
    });
    expect(await timedOut(asked)).toMatchObject(late);
    expect(dropped).toBe(true);
  });
});

describe('the size of an input by URL', () => {
  const URL_A = 'https://a.example.com/1';
  const MIB = 1024 * 1024;
  const refusedFor = async (answer: () => Response) => {
    internet({ [URL_A]: answer });
    const { account, call } = await newClient();
    const problem = await problemOf(await call('/v1/jobs', withUrl(URL_A)));
    return { code: problem.code, stored: await storedOf(account) };
  };
  const NOTHING = { jobs: 0, objects: 0 };

  /** A PNG without end, in chunks of 1 MiB; `taken`: how much of it was asked for. */
  function endless() {
    const chunk = new Uint8Array(MIB);
    const seen = { taken: 0, dropped: false };
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const next = chunk.slice();
          if (seen.taken === 0) {
            next.set(PNG);
          }
          seen.taken += next.length;
          controller.enqueue(next);
        },
        cancel() {
          seen.dropped = true;
        },
      },
      { highWaterMark: 0 },
    );
    return { seen, body };
  }

  it('is counted during the fetch: an endless file is dropped at the limit', async () => {
    const { seen, body } = endless();
    internet({ [URL_A]: () => new Response(body) });
    const { account, key } = await newClient();
    const request = new Request(`${ORIGIN}/v1/jobs`, withUrl(URL_A));
    request.headers.set('authorization', `Bearer ${key}`);
    const small = { ...env, LIMITS: JSON.stringify({ max_asset_bytes: 10 * MIB }) };
    const problem = await problemOf(await ownGateway().fetch(request, small));
    expect(problem).toMatchObject({ status: 413, code: 'file_too_large' });
    expect(seen.dropped).toBe(true);
    // The bytes over the limit, and the parts of 8 MiB that were in transit.
    expect(seen.taken).toBeLessThanOrEqual(20 * MIB);
    expect(await storedOf(account)).toEqual(NOTHING);
  });

  it.each([
    ['more', PNG.length + 1],
    ['less', PNG.length - 1],
  ])('must match the stated length: %s than the content is an incomplete file', async (_what, length) => {
    const answer = () => new Response(PNG, { headers: { 'content-length': String(length) } });
    expect(await refusedFor(answer)).toEqual({ code: 'input_fetch_failed', stored: NOTHING });
  });

  it('is not compared with the length of a compressed response', async () => {
    internet({
      [URL_A]: () =>
        new Response(PNG, { headers: { 'content-length': '7', 'content-encoding': 'gzip' }, encodeBody: 'manual' }),
    });
    const { call } = await newClient();
    expect((await call('/v1/jobs', withUrl(URL_A))).status).toBe(201);
  });

  it('has the pixel limits of an upload', async () => {
    const bomb = () => new Response(pictureOf(60_000, 60_000));
    expect(await refusedFor(bomb)).toEqual({ code: 'image_too_large', stored: NOTHING });
  });

  it('is checked for each file, and a refusal deletes the files before it', async () => {
    internet({ [URL_A]: () => new Response(PNG), 'https://b.example.com/': () => new Response('no') });
    const { account, call } = await newClient();
    const inputs = [
      { name: 'a.png', url: URL_A },
      { name: 'b.png', url: 'https://b.example.com/' },
    ];
    const problem = await problemOf(await call('/v1/jobs', postJson({ workflow: GRAPH, inputs })));
    expect(problem).toMatchObject({ code: 'unsupported_media', errors: [{ pointer: '#/inputs/1/url' }] });
    expect(await storedOf(account)).toEqual(NOTHING);
  });
});

describe('a repeated request with an input by URL', () => {
  const URL_A = 'https://files.example.com/a';
  const keyed = (key: string, body: BodyInit = String(withUrl(URL_A).body)): RequestInit => ({
    ...withUrl(URL_A),
    body,
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
  });

  it('gets its job and fetches nothing, even when the file is missing', async () => {
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

  it('fetches nothing after its job was erased', async () => {
    const { fetched } = internet({ [URL_A]: () => new Response(PNG) });
    const { account, call } = await newClient();
    const { id } = jobSchema.parse(await (await call('/v1/jobs', keyed('k'))).json());
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await call(`/v1/jobs/${id}`, { method: 'DELETE' });
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
    expect(await problemOf(await call('/v1/jobs', keyed('k')))).toMatchObject({ code: 'idempotency_key_reuse' });
    expect(fetched).toEqual([URL_A]);
  });

  it('can be sent again when the file could not be fetched', async () => {
    let there = false;
    internet({ [URL_A]: () => new Response(there ? PNG : null, { status: there ? 200 : 404 }) });
    const { call } = await newClient();
    expect(await problemOf(await call('/v1/jobs', keyed('k')))).toMatchObject({ code: 'input_fetch_failed' });
    there = true;
    expect((await call('/v1/jobs', keyed('k'))).status).toBe(201);
  });
});
