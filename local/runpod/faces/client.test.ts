import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { RUN_RETENTION_MS, RUNSYNC_RETENTION_MS, STOP_AFTER_TAKE_MS, STREAM_HOLD_MS } from '../limits.ts';
import { attachedOnly, startForTest, startFrozen } from '../testing/harness.ts';

describe('authorization', () => {
  it.each([
    ['none', {}],
    ['an empty one', { authorization: 'Bearer ' }],
    ['an unknown one', { authorization: 'Bearer other' }],
  ])('answers 401 to a key that is %s', async (_, headers) => {
    const { url } = await startFrozen({ ...attachedOnly, api_keys: ['k1'] });
    const response = await fetch(`${url}/v2/e1/health`, { headers });
    expect(response.status).toBe(401);
  });

  it.each(['Bearer k1', 'k1'])('accepts the key in "%s"', async (authorization) => {
    const { url } = await startFrozen({ ...attachedOnly, api_keys: ['k1'] });
    const response = await fetch(`${url}/v2/e1/health`, { headers: { authorization } });
    expect(response.status).toBe(200);
  });

  it('sends a refusal only after the whole body was written', async () => {
    const { url } = await startFrozen({ ...attachedOnly, api_keys: ['k1'] });
    let status: number | undefined;
    const ended = Promise.withResolvers<void>();
    const sending = request(`${url}/v2/e1/run`, { method: 'POST', headers: { authorization: 'other' }, agent: false });
    sending.on('response', (response) => {
      status = response.statusCode;
      response.resume().on('end', ended.resolve);
    });
    sending.on('error', ended.reject);
    await new Promise((written) => void sending.write(Buffer.alloc(1_000_000), written));
    // Answered after the half above has come.
    expect((await fetch(`${url}/v2/e1/health`)).status).toBe(401);
    expect(status).toBeUndefined();
    sending.end(Buffer.alloc(1_000_000));
    await ended.promise;
    expect(status).toBe(401);
  });

  it('answers 404 for an endpoint that does not exist', async () => {
    const { post } = await startFrozen();
    expect((await post('/v2/other/run', { input: {} })).status).toBe(404);
  });
});

describe('/run', () => {
  it('answers 200 with an id and IN_QUEUE', async () => {
    const { post } = await startFrozen();
    const answer = await post('/v2/e1/run', { input: { a: 1 } });
    expect(answer).toEqual({
      status: 200,
      body: { id: expect.stringMatching(/^[0-9a-f-]{36}-u1$/), status: 'IN_QUEUE' },
    });
  });

  it.each([
    ['no JSON', '{'],
    ['no input', {}],
    ['input that is a list', { input: [] }],
    ['input that is text', { input: 'x' }],
    ['a webhook that is no URL', { input: {}, webhook: 'nowhere' }],
    ['an execution timeout below 5 s', { input: {}, policy: { executionTimeout: 4999 } }],
    ['an execution timeout above 7 d', { input: {}, policy: { executionTimeout: 604_800_001 } }],
    ['a TTL below 10 s', { input: {}, policy: { ttl: 9999 } }],
  ])('answers 400 to %s', async (_, body) => {
    const { post, get } = await startFrozen();
    expect((await post('/v2/e1/run', body)).status).toBe(400);
    expect((await get('/v2/e1/health')).body).toMatchObject({ jobs: { inQueue: 0 } });
  });

  it('accepts a body of 10 MB and rejects a larger one', async () => {
    const { post } = await startFrozen();
    const sized = (bytes: number) => {
      const empty = JSON.stringify({ input: { blob: '' } });
      return JSON.stringify({ input: { blob: 'x'.repeat(bytes - empty.length) } });
    };
    expect((await post('/v2/e1/run', sized(10_000_000))).status).toBe(200);
    expect((await post('/v2/e1/run', sized(10_000_001))).status).toBe(400);
    expect((await post('/v2/e1/runsync?wait=400000', sized(100))).status).toBe(400);
  });
});

describe('/status', () => {
  it('answers 404 for an unknown job', async () => {
    const { get } = await startFrozen();
    expect((await get('/v2/e1/status/unknown')).status).toBe(404);
  });

  it('keeps a /run result for 30 minutes', async () => {
    const { clock, get, run, take, done } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await done('e1', 'mine', job, { output: 1 });
    await clock.advance(RUN_RETENTION_MS - 1);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'COMPLETED', output: 1 });
    await clock.advance(1);
    expect((await get(`/v2/e1/status/${job}`)).status).toBe(404);
  });

  it('answers 404 after the TTL, also for a running job', async () => {
    const { clock, get, run, take } = await startFrozen();
    const job = await run('e1', { input: {}, policy: { ttl: 10_000 } });
    await take('e1', 'mine');
    await clock.advance(9999);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'IN_PROGRESS' });
    await clock.advance(1);
    expect((await get(`/v2/e1/status/${job}`)).status).toBe(404);
  });

  it('sets the TTL by ?ttl=', async () => {
    const { clock, get, run } = await startFrozen();
    const job = await run('e1');
    expect((await get(`/v2/e1/status/${job}?ttl=6000`)).status).toBe(200);
    await clock.advance(6000);
    expect((await get(`/v2/e1/status/${job}`)).status).toBe(404);
  });

  it('is TIMED_OUT after the execution timeout of the request, else of the endpoint', async () => {
    const { clock, get, run, take } = await startFrozen({
      ...attachedOnly,
      endpoints: [{ id: 'e1', workers: {}, execution_timeout_ms: 60_000, missed_pings: 100 }],
    });
    const short = await run('e1', { input: {}, policy: { executionTimeout: 5000 } });
    const usual = await run('e1');
    await take('e1', 'mine');
    await take('e1', 'yours');
    await clock.advance(5000);
    expect((await get(`/v2/e1/status/${short}`)).body).toMatchObject({ status: 'TIMED_OUT', executionTime: 5000 });
    expect((await get(`/v2/e1/status/${usual}`)).body).toMatchObject({ status: 'IN_PROGRESS' });
    await clock.advance(55_000);
    expect((await get(`/v2/e1/status/${usual}`)).body).toMatchObject({ status: 'TIMED_OUT' });
  });
});

describe('/runsync and /status-sync', () => {
  it('answer with the result and keep it for 1 minute', async () => {
    const { clock, get, post, take, done } = await startFrozen();
    const answer = post('/v2/e1/runsync', { input: {} });
    const job = await take('e1', 'mine');
    await done('e1', 'mine', job, { output: 'x' });
    expect(await answer).toMatchObject({ status: 200, body: { id: job, status: 'COMPLETED', output: 'x' } });
    expect(job).toMatch(/^sync-/);
    await clock.advance(RUNSYNC_RETENTION_MS);
    expect((await get(`/v2/e1/status/${job}`)).status).toBe(404);
  });

  it('answer with the current status when the wait ends', async () => {
    const { clock, events, post, take } = await startFrozen();
    const queued = post('/v2/e1/runsync?wait=1000', { input: {} });
    await events.wait({ after: 0, type: 'job_queued' }, 60_000);
    await clock.advance(1000);
    expect((await queued).body).toMatchObject({ status: 'IN_QUEUE' });
    await take('e1', 'mine');
    const running = post('/v2/e1/runsync?wait=2000', { input: {} });
    await take('e1', 'yours');
    await clock.advance(2000);
    expect((await running).body).toMatchObject({ status: 'IN_PROGRESS' });
  });

  it('wait for a job of /run', async () => {
    const { get, run, take, done } = await startFrozen();
    const job = await run('e1');
    const answer = get(`/v2/e1/status-sync/${job}?wait=90000`);
    await take('e1', 'mine');
    await done('e1', 'mine', job, { output: 1 });
    expect((await answer).body).toMatchObject({ status: 'COMPLETED' });
    expect((await get('/v2/e1/status-sync/unknown')).status).toBe(404);
  });
});

describe('/stream', () => {
  it('returns each chunk once with the status of the job', async () => {
    const { get, run, take, done, workerPost } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await workerPost(`/v2/e1/job-stream/mine/${job}?gpu=x&isStream=false`, { output: 1 });
    await workerPost(`/v2/e1/job-stream/mine/${job}?gpu=x&isStream=false`, { output: 2 });
    expect((await get(`/v2/e1/stream/${job}`)).body).toEqual({
      status: 'IN_PROGRESS',
      stream: [{ output: 1 }, { output: 2 }],
    });
    await done('e1', 'mine', job, { output: [1, 2] });
    expect((await get(`/v2/e1/stream/${job}`)).body).toEqual({ status: 'COMPLETED', stream: [] });
  });

  it('waits a second for a new chunk', async () => {
    const { clock, get, run } = await startFrozen();
    const job = await run('e1');
    const held = clock.scheduled(STREAM_HOLD_MS);
    const answer = get(`/v2/e1/stream/${job}`);
    await held;
    await clock.advance(STREAM_HOLD_MS);
    expect((await answer).body).toEqual({ status: 'IN_QUEUE', stream: [] });
  });

  it('splits text above 1 MB into chunks', async () => {
    const { get, run, take, workerPost } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await workerPost(`/v2/e1/job-stream/mine/${job}?gpu=x`, { output: 'a'.repeat(1_000_000) + 'b' });
    const { body } = await get(`/v2/e1/stream/${job}`);
    expect(body['stream']).toEqual([{ output: 'a'.repeat(1_000_000) }, { output: 'b' }]);
  });
});

describe('/cancel, /retry, /purge-queue, /health, /requests', () => {
  it('cancel a queued job before a worker receives it', async () => {
    const { get, post, run, events } = await startFrozen();
    const job = await run('e1');
    expect(await post(`/v2/e1/cancel/${job}`)).toEqual({ status: 200, body: { id: job, status: 'CANCELLED' } });
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'CANCELLED' });
    expect(events.find({ after: 0, type: 'job_taken' })).toEqual([]);
    expect((await post('/v2/e1/cancel/unknown')).status).toBe(404);
  });

  it('send job-stop to the worker of a cancelled job', async () => {
    const { clock, post, run, take, workerGet } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await clock.advance(STOP_AFTER_TAKE_MS);
    const stop = workerGet('/v2/e1/job-stop/mine?gpu=x');
    expect((await post(`/v2/e1/cancel/${job}`)).body).toEqual({ id: job, status: 'CANCELLED' });
    expect(await stop).toEqual({ status: 200, body: { jobsToStop: [job] } });
  });

  it('retry a failed job under the same id and reject any other', async () => {
    const { get, post, run, take, done } = await startFrozen();
    const job = await run('e1');
    expect((await post(`/v2/e1/retry/${job}`)).status).toBe(400);
    await take('e1', 'mine');
    await done('e1', 'mine', job, { error: 'no' });
    expect(await post(`/v2/e1/retry/${job}`)).toEqual({ status: 200, body: { id: job, status: 'IN_QUEUE' } });
    expect((await get(`/v2/e1/status/${job}`)).body).not.toHaveProperty('error');
    expect(await take('e1', 'mine')).toBe(job);
    expect((await post('/v2/e1/retry/unknown')).status).toBe(404);
  });

  it('purge the queue and count it', async () => {
    const { get, post, run, take, done } = await startFrozen();
    const ended = await run('e1');
    await take('e1', 'mine');
    await done('e1', 'mine', ended, {});
    await run('e1');
    await take('e1', 'mine');
    await run('e1');
    await run('e1');
    expect((await get('/v2/e1/health')).body).toEqual({
      jobs: { completed: 1, failed: 0, inProgress: 1, inQueue: 2, retried: 0 },
      workers: { idle: 0, initializing: 0, ready: 0, running: 1, throttled: 0, unhealthy: 0 },
    });
    expect((await post('/v2/e1/purge-queue')).body).toEqual({ removed: 2, status: 'completed' });
    const { body } = await get('/v2/e1/requests');
    expect(body['requests']).toMatchObject([
      { status: 'COMPLETED' },
      { status: 'IN_PROGRESS' },
      { status: 'CANCELLED' },
      { status: 'CANCELLED' },
    ]);
  });
});

describe('rate limits', () => {
  it('answer 429 to the third purge in ten seconds', async () => {
    const { clock, post } = await startFrozen();
    const purge = async () => (await post('/v2/e1/purge-queue')).status;
    expect([await purge(), await purge(), await purge()]).toEqual([200, 200, 429]);
    await clock.advance(10_000);
    expect(await purge()).toBe(200);
  });

  it('are counted per endpoint and per key', async () => {
    const { call } = await startFrozen({
      port: 0,
      endpoints: [
        { id: 'e1', workers: {} },
        { id: 'e2', workers: {} },
      ],
    });
    const purge = async (endpoint: string, key: string) =>
      (await call('POST', `/v2/${endpoint}/purge-queue`, undefined, { authorization: key })).status;
    await purge('e1', 'k1');
    await purge('e1', 'k1');
    expect(await Promise.all([purge('e1', 'k1'), purge('e2', 'k1'), purge('e1', 'k2')])).toEqual([429, 200, 200]);
  });

  it('answer 429 to the 401st open call', async () => {
    const { clock, events, get, post } = await startFrozen();
    const held = Array.from({ length: 400 }, () => post('/v2/e1/runsync', { input: {} }));
    await events.until(() => events.last === 400, 60_000);
    expect((await post('/v2/e1/runsync', { input: {} })).status).toBe(429);
    await clock.advance(90_000);
    expect((await Promise.all(held)).every((answer) => answer.status === 200)).toBe(true);
    expect((await get('/v2/e1/health')).body).toMatchObject({ jobs: { inQueue: 400 } });
  });
});

it('an unknown path gets 404 as JSON', async () => {
  const { get } = await startForTest(attachedOnly);
  expect(await get('/v2/e1/openai/v1')).toEqual({ status: 404, body: { error: 'not found' } });
});
