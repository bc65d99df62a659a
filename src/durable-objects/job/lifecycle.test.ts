import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { outputKey } from '../../storage/r2/keys.ts';
import {
  ACCOUNT,
  alarmOf,
  createClaimedJob,
  createJob,
  fakeRunpod,
  frozenClock,
  newJob,
  outbox,
  runAlarm,
  harnessOf,
  drained,
  claimAttempt,
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
  it('is sent to RunPod once, as a ticket without its graph', async () => {
    const runpod = fakeRunpod();
    const harness = await createJob();
    await drained(harness);
    expect(runpod.count('run')).toBe(1);
    const { url, body } = runpod.calls.find((call) => call.operation === 'run') ?? {};
    expect(url?.pathname).toBe('/v2/ep1/run');
    expect(body).toMatchObject({
      input: { job: harness.id, attempt: 1, gateway: 'https://gateway.test' },
      webhook: expect.stringContaining(`https://gateway.test/hooks/runpod/${harness.id}/1?token=`),
    });
    expect(JSON.stringify(body)).not.toContain('EmptyImage');
    expect(await listed(harness.id)).toMatchObject({ status: 'queued' });
  });

  it('is created once, and a second call gets the first answer', async () => {
    const runpod = fakeRunpod();
    const job = newJob();
    const harness = harnessOf(job.id);
    await harness.stub.create(job);
    const again = await harness.stub.create({ ...job, account: 'other' });
    expect(again.account).toBe(ACCOUNT);
    await drained(harness);
    expect(runpod.count('run')).toBe(1);
  });

  it('is invisible to another account', async () => {
    fakeRunpod();
    const harness = await createJob();
    expect(await harness.stub.view('other')).toBeNull();
    expect(await harness.stub.cancel('other')).toBeNull();
    expect((await view(harness)).status).toBe('queued');
  });

  it('stores nothing for an id that was never created', async () => {
    const harness = harnessOf(newJob().id);
    expect(await harness.stub.view(ACCOUNT)).toBeNull();
    expect(await harness.stub.claim({ attempt: 1, claim: crypto.randomUUID(), worker: WORKER })).toEqual({
      refused: 'not_found',
    });
    expect(await harness.stub.rearm()).toBe(false);
    expect(await alarmOf(harness)).toBeNull();
  });

  it('succeeds after claim and report, is listed as succeeded, and releases its slot', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    await env.ACCOUNT.getByName(ACCOUNT).admit({
      job: harness.id,
      account: ACCOUNT,
      inputs: [],
      retention: null,
      key: 'key-1',
      priority: 'normal',
      expires_at: Date.now() + 60_000,
      reserve: { gpu_ms: 60_000, micro_usd: null },
      idempotency: null,
    });
    const output = picture(harness.id, 1, 't.png', 3);
    await env.BUCKET.put(output.key, 'abc');
    expect(await harness.stub.complete({ ...report(1, harness.claim), outputs: [output] })).toEqual({
      stored: 'succeeded',
    });
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'succeeded', stage: null, outputs: [{ name: 't.png' }] });
    expect(await listed(harness.id)).toMatchObject({ status: 'succeeded' });
    const places = await runInDurableObject(env.ACCOUNT.getByName(ACCOUNT), (_account, state) =>
      state.storage.sql.exec('SELECT job FROM slots WHERE job = ?', harness.id).toArray(),
    );
    expect(places).toEqual([]);
  });
});

describe('a report', () => {
  it('is stored only when its outputs are in R2 with their sizes', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const [there, absent, short] = [
      picture(harness.id, 1, 'a.png', 3),
      picture(harness.id, 1, 'b.png', 3),
      picture(harness.id, 1, 'c.png', 9),
    ];
    await env.BUCKET.put(there.key, 'abc');
    await env.BUCKET.put(short.key, 'abc');
    const whole = { ...report(1, harness.claim), outputs: [there, absent, short] };
    expect(await harness.stub.complete(whole)).toEqual({ missing: ['b.png', 'c.png'] });
    expect((await view(harness)).status).toBe('running');
    await env.BUCKET.put(absent.key, 'abc');
    await env.BUCKET.put(short.key, 'abcdefghi');
    expect(await harness.stub.complete(whole)).toEqual({ stored: 'succeeded' });
  });

  it('is rejected with the key of another job or attempt, or with a long text', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const other = picture(newJob().id, 1, 'a.png', 3);
    const stale = { ...picture(harness.id, 2, 'b.png', 3) };
    const long = {
      ...picture(harness.id, 1, 'c.txt', 5_462 * 3),
      type: 'text' as const,
      key: null,
      text: '€'.repeat(5_462),
    };
    await env.BUCKET.put(other.key, 'abc');
    await env.BUCKET.put(stale.key, 'abc');
    for (const output of [other, stale, long]) {
      expect(await harness.stub.complete({ ...report(1, harness.claim), outputs: [output] })).toEqual({
        missing: [output.name],
      });
    }
  });

  it('needs no outputs when it is a failure, and gets the same answer when repeated', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const failed = {
      ...report(1, harness.claim),
      outcome: 'failed' as const,
      outputs: [picture(harness.id, 1, 'gone.png', 3)],
      error: { code: 'execution_error' as const, message: 'no', at: 'workflow' as const, retryable: false },
    };
    expect(await harness.stub.complete(failed)).toEqual({ stored: 'failed' });
    expect(await harness.stub.complete(failed)).toEqual({ stored: 'failed' });
    expect(await harness.stub.complete({ ...failed, claim: crypto.randomUUID() })).toEqual({ refused: 'finished' });
  });

  it('is ignored when its attempt was replaced during the check of R2', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createClaimedJob();
    clock.pass(31_000);
    const output = picture(harness.id, 1, 't.png', 3);
    await env.BUCKET.put(output.key, 'abc');
    const [reported] = await Promise.all([
      harness.stub.complete({ ...report(1, harness.claim), outputs: [output] }),
      harness.stub.rearm(),
    ]);
    const after = await view(harness);
    // Either order is right; what must not be is both.
    expect([reported, after.status]).toEqual(
      'stored' in reported ? [{ stored: 'succeeded' }, 'succeeded'] : [{ refused: 'finished' }, 'queued'],
    );
  });
});

describe('retention', () => {
  it('removes the job, its outputs of every attempt and its row in the list, and nothing of another job', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const neighbour = await createJob();
    await env.BUCKET.put(outputKey(ACCOUNT, neighbour.id, 1, 'mine.png'), 'abc');
    const harness = await createClaimedJob();
    await env.BUCKET.put(outputKey(ACCOUNT, harness.id, 1, 'lost.png'), 'abc');
    await harness.stub.complete({
      ...report(1, harness.claim),
      outcome: 'failed',
      error: { code: 'comfyui_unavailable', message: 'no', at: 'worker', retryable: true },
    });
    await drained(harness);
    const second = crypto.randomUUID();
    await claimAttempt(harness, second, 2);
    await env.BUCKET.put(outputKey(ACCOUNT, harness.id, 2, 'kept.png'), 'abc');
    await harness.stub.complete(report(2, second));
    await drained(harness);
    // The alarm may be an earlier one still: it finds nothing to do and sets the next.
    await runAlarm(harness);
    expect(await alarmOf(harness)).toBe((await view(harness)).expires_at);

    clock.pass(7 * 86_400_000);
    await runAlarm(harness);
    expect(await harness.stub.view(ACCOUNT)).toBeNull();
    expect(await alarmOf(harness)).toBeNull();
    expect(await listed(harness.id)).toBeUndefined();
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${harness.id}/` })).objects).toEqual([]);
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${neighbour.id}/` })).objects).toHaveLength(1);
  });

  it('erases once when the client and the alarm coincide', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    clock.pass(8 * 86_400_000);
    const [answer] = await Promise.all([harness.stub.erase(ACCOUNT), runAlarm(harness)]);
    expect(answer).toBe('erased');
    expect(await harness.stub.view(ACCOUNT)).toBeNull();
    expect(await alarmOf(harness)).toBeNull();
  });

  it('waits until all notifications of the end are sent', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.cancel = () => new Response(null, { status: 500 });
    const harness = await createJob({ deadline: Date.now() + 8 * 86_400_000 });
    await drained(harness);
    await harness.stub.cancel(ACCOUNT);
    clock.pass(7 * 86_400_000 + 1);
    await runAlarm(harness);
    expect(await outbox(harness)).toEqual(['cancel_run:1']);
    expect((await view(harness)).status).toBe('canceled');
    runpod.answer.cancel = () => Response.json({});
    clock.pass(60_000);
    await runAlarm(harness);
    await runAlarm(harness);
    expect(await harness.stub.view(ACCOUNT)).toBeNull();
  });
});
