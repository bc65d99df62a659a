import { describe, expect, it } from 'vitest';
import { WORKER_KEY, WORKER_POLL_MS } from '../limits.ts';
import { attachedOnly, startFrozen } from '../testing/harness.ts';

describe('job-take', () => {
  it('waits for a job', async () => {
    const { clock, run, workerGet } = await startFrozen();
    const held = clock.scheduled(WORKER_POLL_MS);
    const poll = workerGet('/v2/e1/job-take/mine?gpu=x&job_in_progress=0');
    await held;
    const job = await run('e1', { input: { a: 1 } });
    expect(await poll).toEqual({ status: 200, body: { id: job, input: { a: 1 } } });
  });

  it("answers 204 before the SDK's timeout of 90 s", async () => {
    const { clock, workerGet } = await startFrozen();
    const held = clock.scheduled(WORKER_POLL_MS);
    const poll = workerGet('/v2/e1/job-take/mine?gpu=x&job_in_progress=0');
    await held;
    await clock.advance(89_000);
    expect((await poll).status).toBe(204);
  });

  it('sends no job to a disconnected worker', async () => {
    const { events, url, run, take } = await startFrozen();
    const hangUp = new AbortController();
    const poll = fetch(`${url}/v2/e1/job-take/gone?gpu=x`, {
      headers: { authorization: WORKER_KEY },
      signal: hangUp.signal,
    });
    await events.wait({ after: 0, type: 'worker_ready' }, 60_000);
    hangUp.abort();
    await expect(poll).rejects.toThrow('aborted');
    await events.wait({ after: 0, type: 'worker_hung_up' }, 60_000);
    const job = await run('e1');
    expect(await take('e1', 'mine')).toBe(job);
  });

  it('returns a list to job-take-batch', async () => {
    const { url, run } = await startFrozen();
    const ids = [await run('e1'), await run('e1'), await run('e1')];
    const response = await fetch(`${url}/v2/e1/job-take-batch/mine?gpu=x&batch_size=2&job_in_progress=0`, {
      headers: { authorization: WORKER_KEY },
    });
    expect(await response.json()).toEqual(ids.slice(0, 2).map((id) => ({ id, input: {} })));
  });

  it('requires the worker key when the config has one', async () => {
    const { call, workerGet } = await startFrozen({ ...attachedOnly, worker_api_key: 'wk' });
    const ping = (authorization: string) => call('GET', '/v2/e1/ping/mine?gpu=x', undefined, { authorization });
    expect((await ping('other')).status).toBe(401);
    expect((await ping('wk')).status).toBe(200);
    expect((await workerGet('/v2/e1/job-take/mine?gpu=x')).status).toBe(401);
  });
});

describe('job-done', () => {
  it("accepts progress and then the result in the SDK's content type", async () => {
    const { get, run, take, workerPost } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    const path = `/v2/e1/job-done/mine/${job}?gpu=x&isStream=false`;
    expect((await workerPost(path, { status: 'IN_PROGRESS', output: 5 })).status).toBe(200);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'IN_PROGRESS', output: 5 });
    expect((await workerPost(path, { output: 6 })).status).toBe(200);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'COMPLETED', output: 6 });
  });

  it('answers 400 above 20 MB, and the job continues without a result', async () => {
    const { get, run, take, workerPost } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    const answer = await workerPost(`/v2/e1/job-done/mine/${job}?gpu=x`, { output: 'x'.repeat(20_000_000) });
    expect(answer.status).toBe(400);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'IN_PROGRESS' });
  });

  it('answers 400 to a body that is not a result', async () => {
    const { workerPost } = await startFrozen();
    expect((await workerPost('/v2/e1/job-done/mine/j?gpu=x', 'output=1')).status).toBe(400);
    expect((await workerPost('/v2/e1/job-stream/mine/j?gpu=x', '[]')).status).toBe(400);
  });

  it('answers 200 to a result of a finished job, so that the worker does not send it again', async () => {
    const { events, post, run, take, workerPost } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await post(`/v2/e1/cancel/${job}`);
    expect((await workerPost(`/v2/e1/job-done/mine/${job}?gpu=x`, { output: 1 })).status).toBe(200);
    expect(events.find({ after: 0, type: 'report_ignored' })).toMatchObject([{ job, reason: 'job is over' }]);
  });
});

describe('a silent attached worker', () => {
  it('loses its job after three missed pings and not before', async () => {
    const { clock, get, run, take, workerGet } = await startFrozen();
    const job = await run('e1');
    await take('e1', 'mine');
    await clock.advance(25_000);
    await workerGet(`/v2/e1/ping/mine?gpu=x&job_id=${job}`);
    await clock.advance(29_999);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({ status: 'IN_PROGRESS' });
    await clock.advance(1);
    expect((await get(`/v2/e1/status/${job}`)).body).toMatchObject({
      status: 'FAILED',
      error: expect.stringContaining('missed pings'),
    });
  });
});
