import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { outputKey } from '../../storage/r2/keys.ts';
import {
  ACCOUNT,
  alarmOf,
  claimed,
  created,
  fakeRunpod,
  heldClock,
  newJob,
  outbox,
  ring,
  rigOf,
  settled,
  takes,
  view,
  WORKER,
} from '../../testing/job.ts';
import { NO_FILTERS } from '../../storage/d1/job-list.ts';
import { listJobs } from '../../storage/d1/jobs.ts';

const SHA = 'a'.repeat(64);
const picture = (id: string, attempt: number, name: string, size_bytes: number) => ({
  name,
  node_id: '2',
  class_type: 'SaveImage',
  type: 'image' as const,
  content_type: 'image/png',
  size_bytes,
  sha256: SHA,
  key: outputKey(ACCOUNT, id, attempt, name),
  temp: false,
});
const report = (attempt: number, claim: string) => ({
  attempt,
  claim,
  last_seq: 0,
  outcome: 'succeeded' as const,
  outputs: [],
  timings: {},
  usage: {},
});
const listed = async (id: string) =>
  (await listJobs(env.DB, ACCOUNT, NO_FILTERS, { limit: 100, before: null })).find((job) => job.id === id);

describe('a job', () => {
  it('is handed to RunPod once, as a ticket without its graph', async () => {
    const runpod = fakeRunpod();
    const rig = await created();
    await settled(rig);
    expect(runpod.count('run')).toBe(1);
    const { url, body } = runpod.calls.find((call) => call.operation === 'run') ?? {};
    expect(url?.pathname).toBe('/v2/ep1/run');
    expect(body).toMatchObject({
      input: { job: rig.id, attempt: 1, gateway: 'https://gateway.test' },
      webhook: expect.stringContaining(`https://gateway.test/hooks/runpod/${rig.id}/1?token=`),
    });
    expect(JSON.stringify(body)).not.toContain('EmptyImage');
    expect(await listed(rig.id)).toMatchObject({ status: 'queued' });
  });

  it('is created once, whatever a second call brings', async () => {
    const runpod = fakeRunpod();
    const job = newJob();
    const rig = rigOf(job.id);
    await rig.stub.create(job);
    const again = await rig.stub.create({ ...job, account: 'other' });
    expect(again.account).toBe(ACCOUNT);
    await settled(rig);
    expect(runpod.count('run')).toBe(1);
  });

  it("is another account's secret", async () => {
    fakeRunpod();
    const rig = await created();
    expect(await rig.stub.view('other')).toBeNull();
    expect(await rig.stub.cancel('other')).toBeNull();
    expect((await view(rig)).status).toBe('queued');
  });

  it('that was never made leaves no trace of the question', async () => {
    const rig = rigOf(newJob().id);
    expect(await rig.stub.view(ACCOUNT)).toBeNull();
    expect(await rig.stub.claim({ attempt: 1, claim: crypto.randomUUID(), worker: WORKER })).toEqual({
      refused: 'not_found',
    });
    expect(await rig.stub.rearm()).toBe(false);
    expect(await alarmOf(rig)).toBeNull();
  });

  it('goes through claim and report to its end, is listed so, and gives its place back', async () => {
    fakeRunpod();
    const rig = await claimed();
    await env.ACCOUNT.getByName(ACCOUNT).admit({
      job: rig.id,
      account: ACCOUNT,
      inputs: [],
      retention: null,
      key: 'key-1',
      priority: 'normal',
      expires_at: Date.now() + 60_000,
      reserve: { gpu_ms: 60_000, micro_usd: null },
      idempotency: null,
    });
    const output = picture(rig.id, 1, 't.png', 3);
    await env.BUCKET.put(output.key, 'abc');
    expect(await rig.stub.complete({ ...report(1, rig.claim), outputs: [output] })).toEqual({ stored: 'succeeded' });
    await settled(rig);
    expect(await view(rig)).toMatchObject({ status: 'succeeded', stage: null, outputs: [{ name: 't.png' }] });
    expect(await listed(rig.id)).toMatchObject({ status: 'succeeded' });
    const places = await runInDurableObject(env.ACCOUNT.getByName(ACCOUNT), (_account, state) =>
      state.storage.sql.exec('SELECT job FROM slots WHERE job = ?', rig.id).toArray(),
    );
    expect(places).toEqual([]);
  });
});

describe('a report', () => {
  it('is not believed until its outputs are in R2 with their sizes', async () => {
    fakeRunpod();
    const rig = await claimed();
    const [there, absent, short] = [
      picture(rig.id, 1, 'a.png', 3),
      picture(rig.id, 1, 'b.png', 3),
      picture(rig.id, 1, 'c.png', 9),
    ];
    await env.BUCKET.put(there.key, 'abc');
    await env.BUCKET.put(short.key, 'abc');
    const whole = { ...report(1, rig.claim), outputs: [there, absent, short] };
    expect(await rig.stub.complete(whole)).toEqual({ missing: ['b.png', 'c.png'] });
    expect((await view(rig)).status).toBe('running');
    await env.BUCKET.put(absent.key, 'abc');
    await env.BUCKET.put(short.key, 'abcdefghi');
    expect(await rig.stub.complete(whole)).toEqual({ stored: 'succeeded' });
  });

  it("cannot name another job's object, another attempt's, or bring a long text", async () => {
    fakeRunpod();
    const rig = await claimed();
    const other = picture(newJob().id, 1, 'a.png', 3);
    const stale = { ...picture(rig.id, 2, 'b.png', 3) };
    const long = {
      ...picture(rig.id, 1, 'c.txt', 5_462 * 3),
      type: 'text' as const,
      key: null,
      text: '€'.repeat(5_462),
    };
    await env.BUCKET.put(other.key, 'abc');
    await env.BUCKET.put(stale.key, 'abc');
    for (const output of [other, stale, long]) {
      expect(await rig.stub.complete({ ...report(1, rig.claim), outputs: [output] })).toEqual({
        missing: [output.name],
      });
    }
  });

  it('of a failure needs no outputs, and is answered the same when repeated', async () => {
    fakeRunpod();
    const rig = await claimed();
    const failed = {
      ...report(1, rig.claim),
      outcome: 'failed' as const,
      outputs: [picture(rig.id, 1, 'gone.png', 3)],
      error: { code: 'execution_error' as const, message: 'no', at: 'workflow' as const, retryable: false },
    };
    expect(await rig.stub.complete(failed)).toEqual({ stored: 'failed' });
    expect(await rig.stub.complete(failed)).toEqual({ stored: 'failed' });
    expect(await rig.stub.complete({ ...failed, claim: crypto.randomUUID() })).toEqual({ refused: 'over' });
  });

  it('does not count when its attempt was replaced while R2 was being asked', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await claimed();
    clock.pass(31_000);
    const output = picture(rig.id, 1, 't.png', 3);
    await env.BUCKET.put(output.key, 'abc');
    const [reported] = await Promise.all([
      rig.stub.complete({ ...report(1, rig.claim), outputs: [output] }),
      rig.stub.rearm(),
    ]);
    const after = await view(rig);
    // Either order is right; what must not be is both.
    expect([reported, after.status]).toEqual(
      'stored' in reported ? [{ stored: 'succeeded' }, 'succeeded'] : [{ refused: 'over' }, 'queued'],
    );
  });
});

describe('retention', () => {
  it('removes the job, its outputs of every attempt and its line in the list, and nothing of another job', async () => {
    fakeRunpod();
    const clock = heldClock();
    const neighbour = await created();
    await env.BUCKET.put(outputKey(ACCOUNT, neighbour.id, 1, 'mine.png'), 'abc');
    const rig = await claimed();
    await env.BUCKET.put(outputKey(ACCOUNT, rig.id, 1, 'lost.png'), 'abc');
    await rig.stub.complete({
      ...report(1, rig.claim),
      outcome: 'failed',
      error: { code: 'comfyui_unavailable', message: 'no', at: 'worker', retryable: true },
    });
    await settled(rig);
    const second = crypto.randomUUID();
    await takes(rig, second, 2);
    await env.BUCKET.put(outputKey(ACCOUNT, rig.id, 2, 'kept.png'), 'abc');
    await rig.stub.complete(report(2, second));
    await settled(rig);
    // The alarm may be an earlier one still: it finds nothing to do and sets the next.
    await ring(rig);
    expect(await alarmOf(rig)).toBe((await view(rig)).expires_at);

    clock.pass(7 * 86_400_000);
    await ring(rig);
    expect(await rig.stub.view(ACCOUNT)).toBeNull();
    expect(await alarmOf(rig)).toBeNull();
    expect(await listed(rig.id)).toBeUndefined();
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${rig.id}/` })).objects).toEqual([]);
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${neighbour.id}/` })).objects).toHaveLength(1);
  });

  it('is one erasing for the client and for the alarm, however they meet', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await created();
    await settled(rig);
    await rig.stub.cancel(ACCOUNT);
    await settled(rig);
    clock.pass(8 * 86_400_000);
    const [answer] = await Promise.all([rig.stub.erase(ACCOUNT), ring(rig)]);
    expect(answer).toBe('erased');
    expect(await rig.stub.view(ACCOUNT)).toBeNull();
    expect(await alarmOf(rig)).toBeNull();
  });

  it('waits until everybody has been told of the end', async () => {
    const runpod = fakeRunpod();
    const clock = heldClock();
    runpod.answer.cancel = () => new Response(null, { status: 500 });
    const rig = await created({ deadline: Date.now() + 8 * 86_400_000 });
    await settled(rig);
    await rig.stub.cancel(ACCOUNT);
    clock.pass(7 * 86_400_000 + 1);
    await ring(rig);
    expect(await outbox(rig)).toEqual(['cancel_run:1']);
    expect((await view(rig)).status).toBe('canceled');
    runpod.answer.cancel = () => Response.json({});
    clock.pass(60_000);
    await ring(rig);
    await ring(rig);
    expect(await rig.stub.view(ACCOUNT)).toBeNull();
  });
});
