import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { anyone } from '../../testing/gateway.ts';
import {
  createJob,
  drained,
  fakeRunpod,
  frozenClock,
  newId,
  view,
  type FakeRunpod,
  type JobHarness,
} from '../../testing/job.ts';
import { tokenFor } from '../../testing/worker-calls.ts';

async function ran(): Promise<{ harness: JobHarness; runpod: FakeRunpod; hook: string }> {
  // On a busy machine the job's own first poll would come during the test.
  frozenClock();
  const runpod = fakeRunpod();
  const harness = await createJob();
  await drained(harness);
  const body = runpod.calls.find((call) => call.operation === 'run')?.body as { webhook: string };
  return { harness, runpod, hook: body.webhook };
}

describe("RunPod's webhook", () => {
  it('makes the gateway poll RunPod, and gets exactly 200', async () => {
    const { harness, runpod, hook } = await ran();
    runpod.answer.status = () => Response.json({ status: 'IN_PROGRESS' });
    const response = await anyone(hook, { method: 'POST', body: '{}' });
    expect(response.status).toBe(200);
    await drained(harness);
    expect(runpod.count('status')).toBe(1);
    expect((await view(harness)).stage).toBe('cold_start');
  });

  it('is not trusted: its content changes nothing', async () => {
    const { harness, hook } = await ran();
    for (const body of [
      JSON.stringify({ id: 'run-1', status: 'FAILED', output: { error: 'all is lost' } }),
      'no JSON',
      '',
    ]) {
      expect((await anyone(hook, { method: 'POST', body })).status).toBe(200);
    }
    await drained(harness);
    expect((await view(harness)).status).toBe('queued');
  });

  it('is accepted and ignored for a finished job or attempt', async () => {
    const { harness, runpod, hook } = await ran();
    await harness.stub.cancel('acc');
    await drained(harness);
    const last = (await view(harness)).last_event;
    expect((await anyone(hook, { method: 'POST' })).status).toBe(200);
    await drained(harness);
    expect(runpod.count('status')).toBe(0);
    expect((await view(harness)).last_event).toBe(last);
  });

  it('is accepted for an erased job, so that RunPod does not repeat it', async () => {
    const id = newId();
    const token = await tokenFor(id, 1, { purpose: 'webhook' });
    expect((await anyone(`/hooks/runpod/${id}/1?token=${token}`, { method: 'POST' })).status).toBe(200);
  });

  it('names the run when the outcome of /run is unknown, and the gateway polls that run', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response(null, { status: 502 });
    const harness = await createJob({ endpoint: 'foreign', worker: 'worker-comfyui' });
    await drained(harness);
    const { webhook } = z
      .object({ webhook: z.string() })
      .parse(runpod.calls.find((call) => call.operation === 'run')?.body);
    const body = JSON.stringify({ input: { text: 'x'.repeat(100_000) }, id: 'run-7', status: 'COMPLETED' });
    runpod.answer.status = () => Response.json({ id: 'run-7', status: 'IN_PROGRESS' });
    for (const nameless of [
      '',
      'no JSON',
      '{}',
      '{"id":7}',
      '{"id":""}',
      `{"id":"${'r'.repeat(300)}"}`,
      '{"id":".."}',
      '{"id":"../x"}',
      String.raw`{"id":"\ud800"}`,
      '[]',
    ]) {
      expect((await anyone(webhook, { method: 'POST', body: nameless })).status).toBe(200);
    }
    await drained(harness);
    expect(runpod.count('status')).toBe(0);
    expect((await anyone(webhook, { method: 'POST', body })).status).toBe(200);
    await drained(harness);
    expect(runpod.calls.filter((call) => call.operation === 'status').map(({ url }) => url.pathname)).toEqual([
      '/v2/ep3/status/run-7',
    ]);
    expect((await view(harness)).status).toBe('running');
  });

  it.each<[string, (id: string) => Promise<string>]>([
    ['no token', () => Promise.resolve('')],
    ["a worker's token", async (id) => `?token=${await tokenFor(id)}`],
    ["another job's token", async () => `?token=${await tokenFor(newId(), 1, { purpose: 'webhook' })}`],
    ["another attempt's token", async (id) => `?token=${await tokenFor(id, 2, { purpose: 'webhook' })}`],
    ['an expired token', async (id) => `?token=${await tokenFor(id, 1, { purpose: 'webhook' }, Date.now() - 1_001)}`],
  ])('calls nothing with %s', async (_name, query) => {
    const { harness, runpod } = await ran();
    const response = await anyone(`/hooks/runpod/${harness.id}/1${await query(harness.id)}`, { method: 'POST' });
    expect(response.status).toBe(401);
    await drained(harness);
    expect(runpod.count('status')).toBe(0);
  });

  it('accepts only POST', async () => {
    const { hook } = await ran();
    expect((await anyone(hook)).status).toBe(405);
  });
});
