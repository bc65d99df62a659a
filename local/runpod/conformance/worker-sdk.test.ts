import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningRunpod, startRunpod } from '../index.ts';
import { type Caller, callerOf } from '../testing/caller.ts';
import { newNotes, realWorkers } from './real-workers.ts';

/** Longest any single step may take: a worker imports the SDK in one to two seconds. */
const STEP_MS = 30_000;

const notes = newNotes();
let runpod: RunningRunpod;
let api: Caller;

beforeAll(async () => {
  runpod = await startRunpod(
    realWorkers(notes, {
      plain: {},
      watched: { ping_interval_ms: 1000 },
      cancelled: {},
      hasty: {},
      impatient: { execution_timeout_ms: 700 },
      strict: { workers: { stop_grace_s: 1 } },
      streaming: { generator: true },
      pair: { concurrency: 2 },
      refreshed: {},
      shortlived: { workers: { idle_timeout_s: 0.5 } },
      crashing: {},
      killed: {},
    }),
  );
  api = callerOf(runpod.url);
});

afterAll(async () => {
  await runpod.close();
  notes.remove();
});

/** Runs a job to its end and returns the final status body. */
async function runToEnd(endpoint: string, order: Record<string, unknown>): Promise<Record<string, unknown>> {
  const job = await api.run(endpoint, { input: order });
  return (await api.get(`/v2/${endpoint}/status-sync/${job}?wait=30000`)).body;
}

/** Submits a job and resolves when the handler has it. */
async function runUntilHandled(endpoint: string, order: Record<string, unknown>): Promise<string> {
  const job = await api.run(endpoint, { input: order });
  await runpod.events.wait({ after: 0, type: 'job_progress', job }, STEP_MS);
  return job;
}

describe.concurrent('the result of a worker', () => {
  it('has its times and its worker', async () => {
    expect(await runToEnd('plain', { do: 'echo', value: { ü: [1, null] } })).toEqual({
      id: expect.any(String),
      status: 'COMPLETED',
      output: { echo: { ü: [1, null] }, pid: expect.any(Number), index: '1' },
      delayTime: expect.any(Number),
      executionTime: expect.any(Number),
      workerId: 'w1',
    });
  });

  it('is COMPLETED without output when the handler returns {}', async () => {
    const body = await runToEnd('plain', { do: 'empty' });
    expect(body).toMatchObject({ status: 'COMPLETED' });
    expect(body).not.toHaveProperty('output');
  });

  it('is FAILED with the error the handler returned, and the rest as output', async () => {
    expect(await runToEnd('plain', { do: 'error' })).toMatchObject({
      status: 'FAILED',
      error: 'it went wrong',
      output: { detail: 7 },
    });
  });

  it('is FAILED with a JSON text when the handler raises', async () => {
    const body = await runToEnd('plain', { do: 'raise' });
    expect(body['status']).toBe('FAILED');
    expect(JSON.parse(String(body['error']))).toMatchObject({
      error_type: "<class 'ValueError'>",
      error_message: 'boom',
      hostname: 'plain-w1',
      worker_id: 'w1',
      runpod_version: '1.12.0',
    });
  });

  it('reaches a webhook that listens', async ({ onTestFinished }) => {
    const received: unknown[] = [];
    const receiver = createServer(async (request, response) => {
      received.push([request.method, request.headers['content-type'], JSON.parse(await text(request))]);
      response.end('ok');
    });
    await new Promise<void>((resolve) => {
      receiver.listen(0, '127.0.0.1', resolve);
    });
    onTestFinished(() => {
      receiver.close();
    });
    const address = receiver.address();
    const webhook = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hook?token=t`;
    const job = await api.run('plain', { input: { do: 'echo', value: 5 }, webhook });
    await runpod.events.wait({ after: 0, type: 'webhook_sent', job }, STEP_MS);
    expect(received).toMatchObject([
      [
        'POST',
        'application/json',
        { id: job, status: 'COMPLETED', output: { echo: 5 }, input: { do: 'echo', value: 5 }, webhook },
      ],
    ]);
  });
});

describe.concurrent('a running job', () => {
  it('shows its progress as output', async () => {
    const job = await api.run('watched', { input: { do: 'progress', for_s: 1 } });
    await runpod.events.wait({ after: 0, type: 'job_progress', job }, STEP_MS);
    expect((await api.get(`/v2/watched/status/${job}`)).body).toMatchObject({
      status: 'IN_PROGRESS',
      output: { step: 1 },
    });
    expect((await api.get(`/v2/watched/status-sync/${job}`)).body).toMatchObject({ output: { done: true } });
  });

  it('gets pings from its worker', async () => {
    await runToEnd('watched', { do: 'empty' });
    const { body } = await api.get('/admin/state');
    expect(body['calls']).toMatchObject({ 'watched ping': expect.any(Number), 'watched job-stop': expect.any(Number) });
  });
});

describe.concurrent('canceling a job', () => {
  it('raises CancelledError in an async handler and keeps the worker', async () => {
    const before = await runToEnd('cancelled', { do: 'echo' });
    const job = await runUntilHandled('cancelled', { do: 'wait' });
    expect((await api.post(`/v2/cancelled/cancel/${job}`)).body).toEqual({ id: job, status: 'CANCELLED' });
    const after = await runToEnd('cancelled', { do: 'echo' });
    expect(notes.about(job)).toEqual(['waiting', 'cancelled']);
    expect(after).toMatchObject({ workerId: before['workerId'], status: 'COMPLETED' });
    expect((await api.get(`/v2/cancelled/status/${job}`)).body).toMatchObject({ status: 'CANCELLED' });
    expect(runpod.events.find({ after: 0, type: 'job_finished', job })).toHaveLength(1);
  });

  it('reaches the handler right after the worker received the job', async () => {
    const { workerId } = await runToEnd('hasty', { do: 'echo' });
    const job = await api.run('hasty', { input: { do: 'wait' } });
    await runpod.events.wait({ after: 0, type: 'job_taken', job }, STEP_MS);
    await api.post(`/v2/hasty/cancel/${job}`);
    expect(await runToEnd('hasty', { do: 'echo' })).toMatchObject({ status: 'COMPLETED', workerId });
    expect(notes.about(job)).toEqual(['waiting', 'cancelled']);
  });

  it('stops only the canceled one of two jobs', async () => {
    const [first, second] = [
      await runUntilHandled('pair', { do: 'wait' }),
      await runUntilHandled('pair', { do: 'wait' }),
    ];
    await api.post(`/v2/pair/cancel/${first}`);
    expect(await runToEnd('pair', { do: 'echo', value: 1 })).toMatchObject({ workerId: 'w1', status: 'COMPLETED' });
    expect(notes.about(first)).toEqual(['waiting', 'cancelled']);
    expect((await api.get(`/v2/pair/status/${second}`)).body).toMatchObject({ status: 'IN_PROGRESS' });
    await api.post(`/v2/pair/cancel/${second}`);
  });

  it('kills a worker whose handler is not async, and the next job gets a new one', async () => {
    const job = await runUntilHandled('strict', { do: 'block' });
    await api.post(`/v2/strict/cancel/${job}`);
    await runpod.events.wait({ after: 0, type: 'worker_exited', endpoint: 'strict', worker: 'w1' }, STEP_MS);
    expect(runpod.events.find({ after: 0, type: 'worker_lost', endpoint: 'strict' })).toMatchObject([
      { worker: 'w1', reason: 'went on with a stopped job' },
    ]);
    expect(await runToEnd('strict', { do: 'echo' })).toMatchObject({ status: 'COMPLETED', workerId: 'w2' });
  });
});

describe.concurrent('the execution timeout', () => {
  it('ends the job as TIMED_OUT and raises CancelledError in the handler', async () => {
    const body = await runToEnd('impatient', { do: 'wait' });
    expect(body).toMatchObject({ status: 'TIMED_OUT' });
    expect(body['executionTime']).toBeGreaterThanOrEqual(700);
    expect(await runToEnd('impatient', { do: 'echo' })).toMatchObject({ workerId: 'w1' });
    expect(notes.about(String(body['id']))).toEqual(['waiting', 'cancelled']);
  });
});

describe.concurrent('a generator', () => {
  it('streams its parts and returns all of them at the end', async () => {
    const job = await api.run('streaming', { input: { count: 3 } });
    const parts: unknown[] = [];
    let status: unknown = null;
    while (status !== 'COMPLETED') {
      const { body } = await api.get(`/v2/streaming/stream/${job}`);
      status = body['status'];
      parts.push(body['stream']);
    }
    expect(parts.flat()).toEqual([0, 1, 2].map((part) => ({ output: { part } })));
    expect((await api.get(`/v2/streaming/status/${job}`)).body).toMatchObject({
      output: [{ part: 0 }, { part: 1 }, { part: 2 }],
    });
  });

  it("fails with the SDK's text of an exception", async () => {
    expect(await runToEnd('streaming', { count: 1, fail: true })).toMatchObject({
      status: 'FAILED',
      error: expect.stringMatching(/^handler: no more parts \ntraceback: /),
    });
  });
});

describe.concurrent('the end of a worker', () => {
  it('follows its request for a refresh, and the next job gets a new worker', async () => {
    const body = await runToEnd('refreshed', { do: 'refresh' });
    expect(body).toMatchObject({ status: 'COMPLETED' });
    const next = await runToEnd('refreshed', { do: 'echo' });
    expect(next['workerId']).not.toBe(body['workerId']);
  });

  it('is an exit with 0 when it was idle', async () => {
    const { last } = runpod.events;
    const { workerId } = await runToEnd('shortlived', { do: 'echo' });
    const exited = await runpod.events.wait(
      { after: last, type: 'worker_exited', endpoint: 'shortlived', worker: String(workerId) },
      STEP_MS,
    );
    expect(exited).toMatchObject([{ code: 0, signal: null }]);
  });

  it('fails the job immediately when the process dies', async () => {
    expect(await runToEnd('crashing', { do: 'exit' })).toMatchObject({
      status: 'FAILED',
      error: expect.stringMatching(/^worker w\d+ was lost: process exited \(exit code 3\)$/),
    });
  });

  it('fails the job immediately when it is killed by the admin API', async () => {
    const job = await runUntilHandled('killed', { do: 'wait' });
    const { workerId } = (await api.get(`/v2/killed/status/${job}`)).body;
    await api.post(`/admin/endpoints/killed/workers/${String(workerId)}/kill`);
    expect((await api.get(`/v2/killed/status-sync/${job}`)).body).toMatchObject({
      status: 'FAILED',
      error: `worker ${String(workerId)} was lost: process exited (SIGKILL)`,
    });
  });
});
