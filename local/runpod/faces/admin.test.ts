import { describe, expect, it } from 'vitest';
import { paperWorkers, startForTest, startFrozen } from '../testing/harness.ts';

describe('a fault of a call', () => {
  it('answers the next calls before anything is done', async () => {
    const { get, post } = await startFrozen();
    await post('/admin/faults', { kind: 'answer', operation: 'run', status: 500, times: 2 });
    const statuses = [];
    for (let call = 0; call < 3; call += 1) {
      statuses.push((await post('/v2/e1/run', { input: {} })).status);
    }
    expect(statuses).toEqual([500, 500, 200]);
    expect((await get('/v2/e1/health')).body).toMatchObject({ jobs: { inQueue: 1 } });
  });

  it.each([
    ['after', 1],
    ['before', 0],
  ] as const)('cuts the connection %s the job was accepted', async (when, queued) => {
    const { get, post } = await startFrozen();
    await post('/admin/faults', { kind: 'drop', operation: 'run', when });
    await expect(post('/v2/e1/run', { input: {} })).rejects.toThrow('fetch failed');
    expect((await get('/v2/e1/health')).body).toMatchObject({ jobs: { inQueue: queued } });
  });

  it('accepts the job but answers too late for the client', async () => {
    const { clock, events, post } = await startFrozen();
    await post('/admin/faults', { kind: 'hang', operation: 'run', hang_ms: 30_000 });
    const hanging = clock.scheduled(30_000);
    const answer = post('/v2/e1/run', { input: {} });
    await hanging;
    expect(events.find({ after: 0, type: 'job_queued' })).toHaveLength(1);
    await clock.advance(30_000);
    expect((await answer).status).toBe(200);
  });

  it('is listed and can be deleted', async () => {
    const { call, get, post } = await startFrozen();
    await post('/admin/faults', { kind: 'webhook', action: 'lose', job: 'j1' });
    expect((await get('/admin/faults')).body['faults']).toMatchObject([{ kind: 'webhook', job: 'j1', times: 1 }]);
    await call('DELETE', '/admin/faults');
    expect((await get('/admin/faults')).body).toEqual({ faults: [] });
  });

  it('gets 400 when its kind is unknown', async () => {
    const { post } = await startFrozen();
    expect((await post('/admin/faults', { kind: 'earthquake' })).status).toBe(400);
    expect((await post('/admin/faults')).status).toBe(400);
  });
});

describe('the admin API of jobs', () => {
  it('deletes a job', async () => {
    const { get, post, run } = await startFrozen();
    const job = await run('e1');
    expect((await post(`/admin/endpoints/e1/jobs/${job}/forget`)).status).toBe(200);
    expect((await get(`/v2/e1/status/${job}`)).status).toBe(404);
    expect((await post(`/admin/endpoints/e1/jobs/${job}/forget`)).status).toBe(404);
  });

  it('sends a webhook once more at any time', async () => {
    const bodies: unknown[] = [];
    const { clock, post, run, take, done } = await startFrozen(undefined, {
      post: (url, body) => {
        bodies.push([url, JSON.parse(body)]);
        return Promise.resolve(200);
      },
    });
    const job = await run('e1', { input: { a: 1 }, webhook: 'http://hook.test/x' });
    await take('e1', 'mine');
    await done('e1', 'mine', job, { output: 'out' });
    await clock.advance(600_000);
    await post(`/admin/endpoints/e1/jobs/${job}/webhook`);
    const body = {
      id: job,
      status: 'COMPLETED',
      output: 'out',
      input: { a: 1 },
      webhook: 'http://hook.test/x',
      delayTime: 0,
      executionTime: 0,
      workerId: 'mine',
    };
    expect(bodies).toEqual([
      ['http://hook.test/x', body],
      ['http://hook.test/x', body],
    ]);
    expect((await post('/admin/endpoints/e1/jobs/unknown/webhook')).status).toBe(404);
  });
});

describe('events', () => {
  it('can be waited for', async () => {
    const { get, run } = await startForTest({ endpoints: [{ id: 'e1', workers: {} }] });
    const waiting = get('/admin/events?type=job_queued&wait_ms=60000');
    const job = await run('e1');
    const { body } = await waiting;
    expect(body).toMatchObject({ events: [{ n: 1, type: 'job_queued', endpoint: 'e1', job }], last: 1 });
  });

  it('are numbered without gaps and can be read after a number', async () => {
    const { get, post, run } = await startFrozen();
    const job = await run('e1');
    await post(`/v2/e1/cancel/${job}`);
    await run('e1');
    expect((await get(`/admin/events?after=1&job=${job}`)).body['events']).toMatchObject([
      { n: 2, type: 'job_finished', status: 'CANCELLED' },
    ]);
    expect((await get('/admin/events?after=3')).body).toEqual({ events: [], last: 3 });
    expect((await get('/admin/events?after=x')).status).toBe(400);
  });

  it('are empty when none came in time', async () => {
    const { clock, get } = await startFrozen();
    const begun = clock.scheduled(5000);
    const waiting = get('/admin/events?wait_ms=5000');
    await begun;
    await clock.advance(5000);
    expect((await waiting).body).toEqual({ events: [], last: 0 });
  });
});

describe('the admin API of workers', () => {
  const scaled = { port: 0, endpoints: [{ id: 'e1', workers: { max: 1, command: ['worker'] } }] };

  it('lists pid, state and jobs', async () => {
    const { launcher } = paperWorkers();
    const { get, run, take } = await startFrozen(scaled, { launcher });
    const job = await run('e1');
    await take('e1', 'w1');
    expect((await get('/admin/state')).body).toMatchObject({
      endpoints: [{ id: 'e1', workers: [{ id: 'w1', slot: 1, pid: 1001, state: 'running', jobs: [job] }], queue: [] }],
      calls: { 'e1 run': 1, 'e1 job-take': 1 },
    });
  });

  it('kills a worker during a job, which fails', async () => {
    const paper = paperWorkers();
    const { events, get, post, run, take } = await startFrozen(scaled, { launcher: paper.launcher });
    const job = await run('e1');
    await take('e1', 'w1');
    expect((await post('/admin/endpoints/e1/workers/w1/kill')).status).toBe(200);
    await events.wait({ after: 0, type: 'job_finished' }, 60_000);
    expect(paper.signals).toEqual(['w1 SIGKILL']);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({
      status: 'FAILED',
      error: 'worker w1 was lost: process exited (SIGKILL)',
    });
    expect((await post('/admin/endpoints/e1/workers/w1/kill')).status).toBe(404);
  });

  it('removes all capacity and restores it', async () => {
    const paper = paperWorkers();
    const { call, run } = await startFrozen(scaled, { launcher: paper.launcher });
    await call('PATCH', '/admin/endpoints/e1', { max: 0 });
    await run('e1');
    expect(paper.orders).toEqual([]);
    await call('PATCH', '/admin/endpoints/e1', { max: 1 });
    expect(paper.orders).toHaveLength(1);
  });
});
