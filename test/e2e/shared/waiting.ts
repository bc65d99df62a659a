import { describe, test, vi } from 'vitest';
import { WAIT_LIMIT_MS, ended, executing, quickGraph, slowGraph, until } from '../platform.ts';
import { platform } from './stack.ts';

describe('a submit with wait', () => {
  test('returns the finished job', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit(
      { workflow: quickGraph },
      { wait: 60, signal: AbortSignal.timeout(WAIT_LIMIT_MS) },
    );
    expect(job).toMatchObject({ status: 'succeeded', outputs: [{ name: 't_00001_.png' }] });
    expect(job.attempts[0]?.upstream_id).toMatch(/./);
    expect((await edge.jobs.result(job.id))?.outputs).toEqual(job.outputs);
  });

  test('keeps the job of a client that disconnects, and returns it for the same Idempotency-Key', async ({
    expect,
  }) => {
    const { edge, happened } = platform;
    const leaving = new AbortController();
    const newJob = {
      workflow: { ...quickGraph, '1': { ...quickGraph['1'], inputs: { ...quickGraph['1'].inputs, width: 80 } } },
    };
    const mark = platform.runpod.events.last;
    const given = edge.jobs.submit(newJob, { wait: 60, idempotencyKey: 'left', signal: leaving.signal });
    void given.catch(() => {});
    await happened({ type: 'job_queued', after: mark });
    leaving.abort();
    await expect(given).rejects.toThrow();
    const again = await edge.jobs.submit(newJob, { wait: 60, idempotencyKey: 'left' });
    expect(again.status).toBe('succeeded');
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });
});

test('a job that no worker claims before its start deadline expires, and its run at RunPod is canceled', async ({
  expect,
}) => {
  const { edge } = platform;
  const slow = await edge.jobs.submit({ workflow: slowGraph(60) });
  await until(edge, slow.id, executing);
  const mark = platform.runpod.events.last;
  const job = await edge.jobs.submit({ workflow: quickGraph, start_within: 3 });
  const done = await ended(edge, job.id);
  expect(done).toMatchObject({ status: 'expired', error: null, started_at: null, attempts: [{ claimed_at: null }] });
  const late = Date.parse(done.completed_at ?? '') - Date.parse(done.start_deadline ?? '');
  expect(late).toBeGreaterThanOrEqual(0);
  expect(late).toBeLessThan(1_000);
  await expect(edge.jobs.result(job.id)).rejects.toMatchObject({ status: 410, code: 'job_expired' });
  expect(await platform.happened({ type: 'job_finished', after: mark })).toMatchObject({
    job: done.attempts[0]?.upstream_id,
    status: 'CANCELLED',
  });
  await edge.jobs.cancel(slow.id);
  expect((await ended(edge, slow.id)).status).toBe('canceled');
});

test('a batch runs its valid jobs; the list and the usage report find them by metadata', async ({ expect }) => {
  const { edge, key, url, fetch: ask } = platform;
  const metadata = { campaign: 'a&b "c"' };
  const batch = await edge.jobs.submitBatch([
    { workflow: quickGraph, metadata },
    { workflow: { '1': { class_type: 'SaveImage', inputs: { images: ['9', 0] } } } },
    { workflow: quickGraph, metadata },
  ]);
  const ids = batch.data.flatMap((item) => ('job' in item ? [item.job.id] : []));
  expect(batch.data.map((item) => ('job' in item ? item.status : item.problem.code))).toEqual([
    201,
    'dangling_link',
    201,
  ]);
  for (const id of ids) {
    expect((await ended(edge, id)).status).toBe('succeeded');
  }
  expect((await edge.jobs.list({ metadata })).data.map(({ id }) => id)).toEqual(ids.toReversed());
  const headers = { authorization: `Bearer ${key}` };
  // Usage is written after the job has ended.
  const lines = await vi.waitFor(async () => {
    const answer = await ask(`${url}/v1/usage?group_by=job&format=csv`, { headers });
    const mine = (await answer.text()).split('\r\n').filter((line) => ids.some((id) => line.startsWith(id)));
    expect(mine).toHaveLength(2);
    return mine;
  }, WAIT_LIMIT_MS);
  expect(lines[0]).toContain('"{""campaign"":""a&b \\""c\\""""}"');
});
