import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { anyone } from '../../testing/gateway.ts';
import { created, fakeRunpod, newId, settled, view, type FakeRunpod, type Rig } from '../../testing/job.ts';
import { tokenFor } from '../../testing/worker-calls.ts';

async function ran(): Promise<{ rig: Rig; runpod: FakeRunpod; hook: string }> {
  const runpod = fakeRunpod();
  const rig = await created();
  await settled(rig);
  const body = runpod.calls.find((call) => call.operation === 'run')?.body as { webhook: string };
  return { rig, runpod, hook: body.webhook };
}

describe("RunPod's webhook", () => {
  it('makes the gateway poll RunPod, and gets exactly 200', async () => {
    const { rig, runpod, hook } = await ran();
    runpod.answer.status = () => Response.json({ status: 'IN_PROGRESS' });
    const response = await anyone(hook, { method: 'POST', body: '{}' });
    expect(response.status).toBe(200);
    await settled(rig);
    expect(runpod.count('status')).toBe(1);
    expect((await view(rig)).stage).toBe('cold_start');
  });

  it('is not trusted: its content changes nothing', async () => {
    const { rig, hook } = await ran();
    for (const body of [
      JSON.stringify({ id: 'run-1', status: 'FAILED', output: { error: 'all is lost' } }),
      'no JSON',
      '',
    ]) {
      expect((await anyone(hook, { method: 'POST', body })).status).toBe(200);
    }
    await settled(rig);
    expect((await view(rig)).status).toBe('queued');
  });

  it('is accepted and ignored for a finished job or attempt', async () => {
    const { rig, runpod, hook } = await ran();
    await rig.stub.cancel('acc');
    await settled(rig);
    const last = (await view(rig)).last_event;
    expect((await anyone(hook, { method: 'POST' })).status).toBe(200);
    await settled(rig);
    expect(runpod.count('status')).toBe(0);
    expect((await view(rig)).last_event).toBe(last);
  });

  it('is accepted for an erased job, so that RunPod does not repeat it', async () => {
    const id = newId();
    const token = await tokenFor(id, 1, { purpose: 'webhook' });
    expect((await anyone(`/hooks/runpod/${id}/1?token=${token}`, { method: 'POST' })).status).toBe(200);
  });

  it('names the run when /run never answered, and the gateway polls that run', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response(null, { status: 502 });
    const rig = await created({ endpoint: 'foreign', worker: 'worker-comfyui' });
    await settled(rig);
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
    await settled(rig);
    expect(runpod.count('status')).toBe(0);
    expect((await anyone(webhook, { method: 'POST', body })).status).toBe(200);
    await settled(rig);
    expect(runpod.calls.filter((call) => call.operation === 'status').map(({ url }) => url.pathname)).toEqual([
      '/v2/ep3/status/run-7',
    ]);
    expect((await view(rig)).status).toBe('running');
  });

  it.each<[string, (id: string) => Promise<string>]>([
    ['no token', () => Promise.resolve('')],
    ["a worker's token", async (id) => `?token=${await tokenFor(id)}`],
    ["another job's token", async () => `?token=${await tokenFor(newId(), 1, { purpose: 'webhook' })}`],
    ["another attempt's token", async (id) => `?token=${await tokenFor(id, 2, { purpose: 'webhook' })}`],
    ['an expired token', async (id) => `?token=${await tokenFor(id, 1, { purpose: 'webhook' }, Date.now() - 1_001)}`],
  ])('calls nothing with %s', async (_name, query) => {
    const { rig, runpod } = await ran();
    const response = await anyone(`/hooks/runpod/${rig.id}/1${await query(rig.id)}`, { method: 'POST' });
    expect(response.status).toBe(401);
    await settled(rig);
    expect(runpod.count('status')).toBe(0);
  });

  it('accepts only POST', async () => {
    const { hook } = await ran();
    expect((await anyone(hook)).status).toBe(405);
  });
});
