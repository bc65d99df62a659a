import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { runpodClient, type RunpodRequest } from './client.ts';

const client = runpodClient({ baseUrl: 'https://runpod.test/v2', apiKey: 'secret-key' });
const RUN: RunpodRequest = {
  endpoint: 'ep1',
  input: ['{"job":"j",', '"text":"é"}'],
  webhook: 'https://gw.test/hooks/runpod/j/1?token=h',
  execution_timeout_ms: 60_000,
  ttl_ms: 60_000,
};

/** Makes every `fetch` of the test return this response. Returns the requests that were made. */
function mockFetch(answer: Response | (() => Promise<Response>)): Request[] {
  const requests: Request[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
    requests.push(new Request(input, init));
    return typeof answer === 'function' ? answer() : Promise.resolve(answer);
  });
  onTestFinished(() => spy.mockRestore());
  return requests;
}

const brokenBody = () =>
  new Response(
    new ReadableStream({
      pull(controller) {
        controller.error(new Error('connection reset'));
      },
    }),
  );

describe('/run', () => {
  it('sends the ticket, the webhook, the limits and the key as a bearer token', async () => {
    const requests = mockFetch(Response.json({ id: 'r1', status: 'IN_QUEUE' }));
    expect(await client.run(RUN)).toEqual({ kind: 'accepted', run_id: 'r1' });
    const [request] = requests;
    expect(request?.method).toBe('POST');
    expect(request?.url).toBe('https://runpod.test/v2/ep1/run');
    expect(request?.headers.get('authorization')).toBe('Bearer secret-key');
    expect(await request?.json()).toEqual({
      input: { job: 'j', text: 'é' },
      webhook: RUN.webhook,
      policy: { executionTimeout: 60_000, ttl: 60_000 },
    });
  });

  it.each([
    [1, { executionTimeout: 5_000, ttl: 10_000 }],
    [-5, { executionTimeout: 5_000, ttl: 10_000 }],
    [1e12, { executionTimeout: 604_800_000, ttl: 604_800_000 }],
    [12_345.6, { executionTimeout: 12_346, ttl: 12_346 }],
  ])('keeps the limits within the range of RunPod: %d ms', async (ms, policy) => {
    const requests = mockFetch(Response.json({ id: 'r1' }));
    await client.run({ ...RUN, execution_timeout_ms: ms, ttl_ms: ms });
    expect(await requests[0]?.json()).toMatchObject({ policy });
  });

  it.each([
    ['a server error', new Response('no', { status: 500 })],
    ['a bad gateway', new Response('<html>', { status: 502 })],
    ['a proxy timeout', new Response('', { status: 408 })],
    ['a redirect', new Response(null, { status: 302, headers: { location: 'https://elsewhere.test/' } })],
    ['an empty body', new Response('')],
    ['HTML', new Response('<html>')],
    ['no id', Response.json({ status: 'IN_QUEUE' })],
    ['an empty id', Response.json({ id: '' })],
    ['an id that is not a string', Response.json({ id: 7 })],
    ['null', Response.json(null)],
    ['a list', Response.json([{ id: 'r' }])],
    ['a body that breaks off', brokenBody()],
  ])('has an unknown outcome for %s', async (_name, answer) => {
    mockFetch(answer);
    expect(await client.run(RUN)).toEqual({ kind: 'unknown' });
  });

  it('has an unknown outcome when the connection fails', async () => {
    mockFetch(() => Promise.reject(new TypeError('connection refused')));
    expect(await client.run(RUN)).toEqual({ kind: 'unknown' });
  });

  it.each([
    [400, 'run'],
    [401, 'endpoint'],
    [402, 'endpoint'],
    [403, 'endpoint'],
    [404, 'endpoint'],
    [413, 'run'],
    [422, 'run'],
  ] as const)('refuses permanently for status %d, for the %s, without quoting RunPod', async (status, about) => {
    mockFetch(new Response('{"error":"key secret-key is bad"}', { status }));
    const answer = await client.run(RUN);
    expect(answer).toMatchObject({
      kind: 'refused',
      retryable: false,
      about,
      code: 'provider_refused',
      retry_after_ms: null,
    });
    expect(JSON.stringify(answer)).not.toContain('secret-key');
  });

  it.each([
    [{ 'retry-after': '3' }, 3_000],
    [{ 'retry-after': 'Wed, 21 Oct 2020 07:28:00 GMT' }, 0],
    [{ 'retry-after': '9'.repeat(400) }, 86_400_000],
    [{ 'retry-after': '-5' }, null],
    [{}, null],
  ])('allows a retry for status 429 with %j', async (headers, retry_after_ms) => {
    mockFetch(new Response('', { status: 429, headers }));
    expect(await client.run(RUN)).toMatchObject({
      kind: 'refused',
      retryable: true,
      about: 'run',
      code: 'no_capacity',
      retry_after_ms,
    });
  });
});

describe('/status', () => {
  it.each([
    ['IN_QUEUE', 'queued'],
    ['IN_PROGRESS', 'running'],
    ['RUNNING', 'running'],
    ['COMPLETED', 'completed'],
    ['FAILED', 'failed'],
    ['CANCELLED', 'canceled'],
    ['TIMED_OUT', 'timed_out'],
    ['A_NEW_WORD', 'running'],
    ['constructor', 'running'],
    ['', 'running'],
  ])('maps "%s" to %s', async (word, status) => {
    const requests = mockFetch(Response.json({ id: 'r/1', status: word, output: {}, delayTime: 1, workerId: 'w' }));
    expect(await client.status('ep1', 'r/1')).toBe(status);
    expect(requests[0]?.url).toBe('https://runpod.test/v2/ep1/status/r%2F1');
  });

  it.each([
    ['404', new Response('', { status: 404 }), 'missing'],
    ['401', new Response('', { status: 401 }), 'unreachable'],
    ['429', new Response('', { status: 429 }), 'unreachable'],
    ['500', Response.json({ status: 'COMPLETED' }, { status: 500 }), 'unreachable'],
    ['a redirect', new Response(null, { status: 302, headers: { location: '/' } }), 'unreachable'],
    ['HTML', new Response('<html>'), 'unreachable'],
    ['null', Response.json(null), 'unreachable'],
    ['no status', Response.json({ id: 'r' }), 'unreachable'],
    ['a number as status', Response.json({ status: 3 }), 'unreachable'],
    ['a body that breaks off', brokenBody(), 'unreachable'],
  ])('reports the run as missing or unreachable for %s', async (_name, answer, status) => {
    mockFetch(answer);
    expect(await client.status('ep1', 'r')).toBe(status);
  });
});

describe('/status with the whole record', () => {
  const record = {
    id: 'r',
    delayTime: 12,
    executionTime: 345,
    output: { images: [{ data: 'QUJD', filename: 'a.png' }] },
    workerId: 'w7',
    status: 'COMPLETED',
  };
  const noSinks = (): null => null;

  it('returns the output, the times and the worker', async () => {
    const requests = mockFetch(Response.json(record));
    expect(await client.read('ep1', 'r/1', noSinks)).toEqual({
      status: 'completed',
      output: record.output,
      error: undefined,
      delay_ms: 12,
      execution_ms: 345,
      worker: 'w7',
    });
    expect(requests[0]?.url).toBe('https://runpod.test/v2/ep1/status/r%2F1');
  });

  it('passes strings to their sinks', async () => {
    mockFetch(Response.json(record));
    const pieces: string[] = [];
    const read = await client.read('ep1', 'r', (path) =>
      path.at(-1) === 'data'
        ? { write: (piece) => void pieces.push(piece), end: () => Promise.resolve({ stored: true }) }
        : null,
    );
    expect(pieces.join('')).toBe('QUJD');
    expect(read).toMatchObject({ output: { images: [{ data: { stored: true }, filename: 'a.png' }] } });
  });

  it('accepts a queued run without details, and ignores fields of the wrong type', async () => {
    mockFetch(Response.json({ id: 'r', status: 'IN_QUEUE', delayTime: 'soon', workerId: 7 }));
    expect(await client.read('ep1', 'r', noSinks)).toMatchObject({
      status: 'queued',
      delay_ms: null,
      execution_ms: null,
      worker: null,
    });
  });

  it.each([
    ['404', () => new Response('', { status: 404 }), 'missing'],
    ['500', () => Response.json(record, { status: 500 }), 'unreachable'],
    ['HTML', () => new Response('<html>'), 'unreachable'],
    ['no status', () => Response.json({ id: 'r' }), 'unreachable'],
    ['a body that breaks off', brokenBody, 'unreachable'],
    ['a body that ends early', () => new Response('{"status":"COMPLETED"'), 'unreachable'],
  ])('reports the run as missing or unreachable for %s', async (_name, answer, said) => {
    mockFetch(answer());
    expect(await client.read('ep1', 'r', noSinks)).toBe(said);
  });

  it('rejects with the error of a sink instead of reporting RunPod as unreachable', async () => {
    mockFetch(Response.json(record));
    const full = new Error('no room');
    await expect(
      client.read('ep1', 'r', (path) =>
        path.at(-1) === 'data' ? { write: () => Promise.reject(full), end: () => Promise.resolve(null) } : null,
      ),
    ).rejects.toBe(full);
  });
});

describe('/cancel', () => {
  it.each([
    [200, 'done'],
    [400, 'done'],
    [404, 'done'],
    [401, 'retry'],
    [403, 'retry'],
    [408, 'retry'],
    [429, 'retry'],
    [302, 'retry'],
    [500, 'retry'],
    [503, 'retry'],
  ] as const)('maps status %d to %s', async (status, outcome) => {
    mockFetch(new Response(status === 302 ? null : 'x', { status }));
    expect(await client.cancel('ep1', 'r')).toBe(outcome);
  });

  it('allows a retry when the connection fails', async () => {
    mockFetch(() => Promise.reject(new TypeError('connection refused')));
    expect(await client.cancel('ep1', 'r')).toBe('retry');
  });
});

describe('/health', () => {
  const workers = { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0 };

  it('returns the workers by state, and the queued and running jobs', async () => {
    const requests = mockFetch(
      Response.json({
        jobs: { completed: 9, failed: 1, inProgress: 2, inQueue: 3, retried: 0 },
        workers: { idle: 1, initializing: 2, ready: 3, running: 4, throttled: 5, unhealthy: 6 },
      }),
    );
    expect(await client.health('ep1')).toEqual({
      kind: 'ok',
      health: {
        workers: { idle: 1, initializing: 2, ready: 3, running: 4, throttled: 5, unhealthy: 6 },
        in_queue: 3,
        in_progress: 2,
      },
    });
    expect(requests[0]?.url).toBe('https://runpod.test/v2/ep1/health');
  });

  it('counts a missing or invalid number as 0', async () => {
    mockFetch(Response.json({ jobs: { inQueue: 1 }, workers: { idle: 1, running: 'many', throttled: -1 } }));
    expect(await client.health('ep1')).toEqual({
      kind: 'ok',
      health: { workers: { ...workers, idle: 1 }, in_queue: 1, in_progress: 0 },
    });
  });

  it.each([
    ['401', new Response('', { status: 401 }), 'refused'],
    ['402', new Response('', { status: 402 }), 'refused'],
    ['403', new Response('', { status: 403 }), 'refused'],
    ['404', new Response('', { status: 404 }), 'refused'],
    ['429', new Response('', { status: 429 }), 'failed'],
    ['500', new Response('', { status: 500 }), 'failed'],
    ['a redirect', new Response(null, { status: 302, headers: { location: '/' } }), 'failed'],
    ['HTML', new Response('<html>'), 'failed'],
    ['no workers', Response.json({ jobs: {} }), 'failed'],
    ['a body that breaks off', brokenBody(), 'failed'],
  ])('maps %s to %s', async (_name, answer, kind) => {
    mockFetch(answer);
    expect(await client.health('ep1')).toEqual({ kind });
  });
});

describe('RunPod without a response', () => {
  /** Makes `fetch` wait until the caller aborts it. */
  const mockNoResponse = () => {
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(
      (_input, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
        }),
    );
    onTestFinished(() => spy.mockRestore());
  };

  it.each([
    ['run', 15_000, () => client.run(RUN), { kind: 'unknown' }],
    ['status', 10_000, () => client.status('ep1', 'r'), 'unreachable'],
    ['the whole status', 120_000, () => client.read('ep1', 'r', () => null), 'unreachable'],
    ['cancel', 10_000, () => client.cancel('ep1', 'r'), 'retry'],
    ['health', 5_000, () => client.health('ep1'), { kind: 'failed' }],
  ] as const)('times out: %s after %d ms', async (_name, ms, ask, outcome) => {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    mockNoResponse();
    const pending = ask();
    await vi.advanceTimersByTimeAsync(ms);
    expect(await pending).toEqual(outcome);
  });

  it('leaves no timer after a response', async () => {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    mockFetch(Response.json({ id: 'r1' }));
    await client.run(RUN);
    expect(vi.getTimerCount()).toBe(0);
  });
});
