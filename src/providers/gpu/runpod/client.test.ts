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

/** RunPod answers this, or does this, for the rest of the test. Gives what it was asked. */
function answers(answer: Response | (() => Promise<Response>)): Request[] {
  const asked: Request[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
    asked.push(new Request(input, init));
    return typeof answer === 'function' ? answer() : Promise.resolve(answer);
  });
  onTestFinished(() => spy.mockRestore());
  return asked;
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
  it('carries the ticket, the webhook and the limits, and the key as a bearer', async () => {
    const asked = answers(Response.json({ id: 'r1', status: 'IN_QUEUE' }));
    expect(await client.run(RUN)).toEqual({ kind: 'accepted', run_id: 'r1' });
    const [request] = asked;
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
  ])('keeps the limits within what RunPod takes: %d ms', async (ms, policy) => {
    const asked = answers(Response.json({ id: 'r1' }));
    await client.run({ ...RUN, execution_timeout_ms: ms, ttl_ms: ms });
    expect(await asked[0]?.json()).toMatchObject({ policy });
  });

  it.each([
    ['a server error', new Response('no', { status: 500 })],
    ['a bad gateway', new Response('<html>', { status: 502 })],
    ['a proxy that gave up', new Response('', { status: 408 })],
    ['a redirect', new Response(null, { status: 302, headers: { location: 'https://elsewhere.test/' } })],
    ['an empty body', new Response('')],
    ['HTML', new Response('<html>')],
    ['no id', Response.json({ status: 'IN_QUEUE' })],
    ['an empty id', Response.json({ id: '' })],
    ['an id that is no text', Response.json({ id: 7 })],
    ['null', Response.json(null)],
    ['a list', Response.json([{ id: 'r' }])],
    ['a body that breaks off', brokenBody()],
  ])('answered with %s has an unknown outcome', async (_name, answer) => {
    answers(answer);
    expect(await client.run(RUN)).toEqual({ kind: 'unknown' });
  });

  it('that meets no network has an unknown outcome', async () => {
    answers(() => Promise.reject(new TypeError('connection refused')));
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
  ] as const)(
    'answered with %d is refused for good, without quoting RunPod; it is about the %s',
    async (status, about) => {
      answers(new Response('{"error":"key secret-key is bad"}', { status }));
      const answer = await client.run(RUN);
      expect(answer).toMatchObject({
        kind: 'refused',
        again: false,
        about,
        code: 'provider_refused',
        retry_after_ms: null,
      });
      expect(JSON.stringify(answer)).not.toContain('secret-key');
    },
  );

  it.each([
    [{ 'retry-after': '3' }, 3_000],
    [{ 'retry-after': 'Wed, 21 Oct 2020 07:28:00 GMT' }, 0],
    [{ 'retry-after': '9'.repeat(400) }, 86_400_000],
    [{ 'retry-after': '-5' }, null],
    [{}, null],
  ])('answered with 429 and %j may be tried again', async (headers, retry_after_ms) => {
    answers(new Response('', { status: 429, headers }));
    expect(await client.run(RUN)).toMatchObject({
      kind: 'refused',
      again: true,
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
  ])('"%s" means %s', async (word, status) => {
    const asked = answers(Response.json({ id: 'r/1', status: word, output: {}, delayTime: 1, workerId: 'w' }));
    expect(await client.status('ep1', 'r/1')).toBe(status);
    expect(asked[0]?.url).toBe('https://runpod.test/v2/ep1/status/r%2F1');
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
  ])('%s decides nothing that it does not say', async (_name, answer, status) => {
    answers(answer);
    expect(await client.status('ep1', 'r')).toBe(status);
  });
});

describe('/status with all it says', () => {
  const whole = {
    id: 'r',
    delayTime: 12,
    executionTime: 345,
    output: { images: [{ data: 'QUJD', filename: 'a.png' }] },
    workerId: 'w7',
    status: 'COMPLETED',
  };
  const none = (): null => null;

  it('gives the output, the times and the worker', async () => {
    const asked = answers(Response.json(whole));
    expect(await client.read('ep1', 'r/1', none)).toEqual({
      status: 'completed',
      output: whole.output,
      error: undefined,
      delay_ms: 12,
      execution_ms: 345,
      worker: 'w7',
    });
    expect(asked[0]?.url).toBe('https://runpod.test/v2/ep1/status/r%2F1');
  });

  it('hands on the texts that are wanted', async () => {
    answers(Response.json(whole));
    const pieces: string[] = [];
    const record = await client.read('ep1', 'r', (path) =>
      path.at(-1) === 'data'
        ? { write: (piece) => void pieces.push(piece), end: () => Promise.resolve({ stored: true }) }
        : null,
    );
    expect(pieces.join('')).toBe('QUJD');
    expect(record).toMatchObject({ output: { images: [{ data: { stored: true }, filename: 'a.png' }] } });
  });

  it('takes a queued run that has nothing else to say, and facts of the wrong kind as not said', async () => {
    answers(Response.json({ id: 'r', status: 'IN_QUEUE', delayTime: 'soon', workerId: 7 }));
    expect(await client.read('ep1', 'r', none)).toMatchObject({
      status: 'queued',
      delay_ms: null,
      execution_ms: null,
      worker: null,
    });
  });

  it.each([
    ['404', () => new Response('', { status: 404 }), 'missing'],
    ['500', () => Response.json(whole, { status: 500 }), 'unreachable'],
    ['HTML', () => new Response('<html>'), 'unreachable'],
    ['no status', () => Response.json({ id: 'r' }), 'unreachable'],
    ['a body that breaks off', brokenBody, 'unreachable'],
    ['a body that ends early', () => new Response('{"status":"COMPLETED"'), 'unreachable'],
  ])('%s decides nothing', async (_name, answer, said) => {
    answers(answer());
    expect(await client.read('ep1', 'r', none)).toBe(said);
  });

  it('rejects with what a sink rejects with: that is not RunPod being unreachable', async () => {
    answers(Response.json(whole));
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
    [401, 'again'],
    [403, 'again'],
    [408, 'again'],
    [429, 'again'],
    [302, 'again'],
    [500, 'again'],
    [503, 'again'],
  ] as const)('answered with %d is %s', async (status, outcome) => {
    answers(new Response(status === 302 ? null : 'x', { status }));
    expect(await client.cancel('ep1', 'r')).toBe(outcome);
  });

  it('that meets no network is tried again', async () => {
    answers(() => Promise.reject(new TypeError('connection refused')));
    expect(await client.cancel('ep1', 'r')).toBe('again');
  });
});

describe('/health', () => {
  const workers = { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0 };

  it('says how many workers there are in each state, and how many runs wait and run', async () => {
    const asked = answers(
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
    expect(asked[0]?.url).toBe('https://runpod.test/v2/ep1/health');
  });

  it('counts a word that is missing, or that makes no sense, as none', async () => {
    answers(Response.json({ jobs: { inQueue: 1 }, workers: { idle: 1, running: 'many', throttled: -1 } }));
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
  ])('%s is %s', async (_name, answer, kind) => {
    answers(answer);
    expect(await client.health('ep1')).toEqual({ kind });
  });
});

describe('a RunPod that does not answer', () => {
  /** Never answers; breaks off when the caller gives up. */
  const silence = () => {
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(
      (_input, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener('abort', () => reject(new DOMException('gave up', 'AbortError')));
        }),
    );
    onTestFinished(() => spy.mockRestore());
  };

  it.each([
    ['run', 15_000, () => client.run(RUN), { kind: 'unknown' }],
    ['status', 10_000, () => client.status('ep1', 'r'), 'unreachable'],
    ['the whole status', 120_000, () => client.read('ep1', 'r', () => null), 'unreachable'],
    ['cancel', 10_000, () => client.cancel('ep1', 'r'), 'again'],
    ['health', 5_000, () => client.health('ep1'), { kind: 'failed' }],
  ] as const)('is given up on: %s after %d ms', async (_name, ms, ask, outcome) => {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    silence();
    const asking = ask();
    await vi.advanceTimersByTimeAsync(ms);
    expect(await asking).toEqual(outcome);
  });

  it('leaves no timer behind once it has answered', async () => {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    answers(Response.json({ id: 'r1' }));
    await client.run(RUN);
    expect(vi.getTimerCount()).toBe(0);
  });
});
