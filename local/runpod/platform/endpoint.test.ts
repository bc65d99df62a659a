import { describe, expect, it } from 'vitest';
import type { RunpodOptions } from '../index.ts';
import { WORKER_POLL_MS } from '../limits.ts';
import { paperWorkers, startFrozen } from '../testing/harness.ts';

const one = (workers: Record<string, unknown> = {}, endpoint: Record<string, unknown> = {}): RunpodOptions => ({
  port: 0,
  endpoints: [{ id: 'e1', workers: { max: 2, command: ['worker'], ...workers }, ...endpoint }],
});

describe('scaling', () => {
  it('starts one worker per job up to the maximum', async () => {
    const paper = paperWorkers();
    const { run } = await startFrozen(one(), { launcher: paper.launcher });
    expect(paper.orders).toEqual([]);
    await run('e1');
    await run('e1');
    await run('e1');
    expect(paper.orders.map((order) => [order.worker, order.slot])).toEqual([
      ['w1', 1],
      ['w2', 2],
    ]);
  });

  it('starts the minimum without a job', async () => {
    const paper = paperWorkers();
    await startFrozen(one({ min: 1 }), { launcher: paper.launcher });
    expect(paper.orders).toHaveLength(1);
  });

  it('waits for the queue delay', async () => {
    const paper = paperWorkers();
    const { clock, run } = await startFrozen(one({}, { queue_delay_s: 4 }), { launcher: paper.launcher });
    await run('e1');
    await clock.advance(3999);
    expect(paper.orders).toEqual([]);
    await clock.advance(1);
    expect(paper.orders).toHaveLength(1);
  });

  it('ends an idle worker and closes its open job-take', async () => {
    const paper = paperWorkers();
    const { clock, events, run, take, done, workerGet } = await startFrozen(one({ idle_timeout_s: 5 }), {
      launcher: paper.launcher,
    });
    const job = await run('e1');
    await take('e1', 'w1');
    await done('e1', 'w1', job, {});
    const held = clock.scheduled(WORKER_POLL_MS);
    const poll = workerGet('/v2/e1/job-take/w1?gpu=x&job_in_progress=0');
    await held;
    await clock.advance(5000);
    expect(paper.signals).toEqual(['w1 SIGTERM']);
    expect((await poll).status).toBe(204);
    paper.end('w1');
    await events.wait({ after: 0, type: 'worker_exited' }, 60_000);
    expect(events.find({ after: 0, type: 'worker_lost' })).toEqual([]);
  });

  it('starts no worker for a job that was cancelled in the queue', async () => {
    const paper = paperWorkers();
    const { clock, post, run } = await startFrozen(one({}, { queue_delay_s: 4 }), { launcher: paper.launcher });
    const job = await run('e1');
    await post(`/v2/e1/cancel/${job}`);
    await clock.advance(60_000);
    expect(paper.orders).toEqual([]);
  });
});

describe('a worker that does not start', () => {
  it('is restarted after 1 s, 2 s, 4 s … and counts as unhealthy', async () => {
    const paper = paperWorkers();
    const { clock, events, get, run } = await startFrozen(one({ max: 1 }), { launcher: paper.launcher });
    const start = clock.now();
    await run('e1');
    for (const worker of ['w1', 'w2', 'w3']) {
      await events.wait({ after: 0, type: 'worker_started', worker }, 60_000);
      paper.end(worker, { code: 1 });
      await events.wait({ after: 0, type: 'worker_exited', worker }, 60_000);
      await clock.advance(8000);
    }
    const startedAt = events.find({ after: 0, type: 'worker_started' }).map((event) => event.at - start);
    expect(startedAt).toEqual([0, 1000, 10_000, 20_000]);
    expect((await get('/v2/e1/health')).body).toMatchObject({ jobs: { inQueue: 1 }, workers: { unhealthy: 1 } });
  });

  it('is killed after the start limit', async () => {
    const paper = paperWorkers();
    const { clock, run } = await startFrozen(one({ init_timeout_s: 60 }), { launcher: paper.launcher });
    await run('e1');
    await clock.advance(60_000);
    expect(paper.signals).toEqual(['w1 SIGKILL']);
  });
});

describe('a worker that dies during a job', () => {
  it('fails the job immediately, and the next job gets a new worker', async () => {
    const paper = paperWorkers();
    const { events, get, run, take } = await startFrozen(one({ max: 1 }), { launcher: paper.launcher });
    const job = await run('e1');
    await take('e1', 'w1');
    paper.end('w1', { code: null, signal: 'SIGSEGV' });
    await events.wait({ after: 0, type: 'job_finished' }, 60_000);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({
      status: 'FAILED',
      error: 'worker w1 was lost: process exited (SIGSEGV)',
    });
    await run('e1');
    expect(paper.orders.map((order) => [order.worker, order.slot])).toEqual([
      ['w1', 1],
      ['w2', 1],
    ]);
  });

  it('has its job run by another worker when the endpoint allows retries', async () => {
    const paper = paperWorkers();
    const { events, get, run, take } = await startFrozen(one({}, { on_worker_lost: { action: 'requeue' } }), {
      launcher: paper.launcher,
    });
    const job = await run('e1');
    await take('e1', 'w1');
    paper.end('w1', { code: 1 });
    await events.wait({ after: 0, type: 'worker_started', worker: 'w2' }, 60_000);
    expect(await take('e1', 'w2')).toBe(job);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ retries: 1, workerId: 'w2' });
  });
});

describe('a worker that continues a stopped job', () => {
  it('is killed after the grace, and the job keeps its status', async () => {
    const paper = paperWorkers();
    const { clock, events, get, post, run, take } = await startFrozen(one({ stop_grace_s: 10 }), {
      launcher: paper.launcher,
    });
    const job = await run('e1');
    await take('e1', 'w1');
    await post(`/v2/e1/cancel/${job}`);
    await clock.advance(9999);
    expect(paper.signals).toEqual([]);
    await clock.advance(1);
    expect(paper.signals).toEqual(['w1 SIGKILL']);
    await events.wait({ after: 0, type: 'worker_exited' }, 60_000);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'CANCELLED' });
    expect(events.find({ after: 0, type: 'job_finished' })).toHaveLength(1);
  });
});

describe('a worker that asks to be refreshed', () => {
  it('ends after its job and gets no other', async () => {
    const paper = paperWorkers();
    const { events, run, take, done } = await startFrozen(one({ max: 1 }), { launcher: paper.launcher });
    const first = await run('e1');
    await take('e1', 'w1');
    const second = await run('e1');
    await done('e1', 'w1', first, { output: 1, stopPod: true });
    expect(paper.signals).toEqual(['w1 SIGTERM']);
    paper.end('w1');
    await events.wait({ after: 0, type: 'worker_started', worker: 'w2' }, 60_000);
    expect(await take('e1', 'w2')).toBe(second);
  });
});
