import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { NewJob } from '../../contract/new-job.ts';
import { UPLOAD_GRACE_MS } from '../../contract/worker.ts';
import { outputKey } from '../../storage/r2/keys.ts';
import {
  ACCOUNT,
  alarmOf,
  createClaimedJob,
  fakeRunpod,
  frozenClock,
  newJob,
  runAlarm,
  drained,
  WORKER,
  type JobHarness,
} from '../../testing/job.ts';

/**
 * Guards erasing: a worker may hold upload URLs for minutes after its job was erased. The object is kept until the last
 * URL has expired, so that no file of an erased job stays in R2; clients get 404 from the first moment.
 */

const listed = async ({ id }: JobHarness) =>
  (await env.DB.prepare('SELECT count(*) AS n FROM jobs WHERE id = ?').bind(id).first<number>('n')) ?? 0;
const filesOf = async ({ id }: JobHarness) =>
  (await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${id}/` })).objects.length;
/** A file of the first attempt reaches R2 by a URL that its worker was given. */
const arrives = ({ id }: JobHarness, name: string) => env.BUCKET.put(outputKey(ACCOUNT, id, 1, name), 'x');
/** A worker's claim. It is refused with `finished` while the object has the job's state, then with `not_found`. */
const claimOf = ({ stub }: JobHarness) => stub.claim({ attempt: 1, claim: 'c', worker: WORKER });

/** A job that failed at its worker, which has URLs for fifteen minutes and the grace. */
async function failed(over: Partial<NewJob> = {}): Promise<JobHarness> {
  const harness = await createClaimedJob({ deadline: newJob().created_at + 900_000, ...over });
  await harness.stub.complete({
    attempt: 1,
    claim: harness.claim,
    last_seq: 0,
    outcome: 'failed',
    error: { code: 'execution_error', message: 'no', at: 'workflow', retryable: false },
    outputs: [],
    timings: {},
    usage: {},
  });
  await drained(harness);
  return harness;
}

describe('a job that is erased while its worker may still upload', () => {
  it('deletes late files when no more can arrive, and is invisible until then', async () => {
    const clock = frozenClock();
    fakeRunpod();
    const harness = await failed();
    await arrives(harness, 'early.png');
    expect(await harness.stub.erase(ACCOUNT)).toBe('erased');
    expect([await filesOf(harness), await listed(harness), await harness.stub.view(ACCOUNT)]).toEqual([0, 0, null]);
    expect(await harness.stub.erase(ACCOUNT)).toBe('not_found');
    await arrives(harness, 'late.png');
    clock.pass(900_000 + UPLOAD_GRACE_MS);
    await runAlarm(harness);
    expect(await claimOf(harness)).toEqual({ refused: 'finished' });
    clock.pass(600_000);
    await runAlarm(harness);
    expect(await filesOf(harness)).toBe(0);
    expect(await claimOf(harness)).toEqual({ refused: 'not_found' });
    expect(await alarmOf(harness)).toBeNull();
  });

  it('deletes late files also when its retention ends earlier', async () => {
    const clock = frozenClock();
    fakeRunpod();
    const harness = await failed({ retention_ms: 60_000 });
    clock.pass(60_000);
    await runAlarm(harness);
    expect([await listed(harness), await harness.stub.view(ACCOUNT)]).toEqual([0, null]);
    await arrives(harness, 'late.png');
    clock.pass(900_000 + UPLOAD_GRACE_MS + 600_000);
    await runAlarm(harness);
    expect(await filesOf(harness)).toBe(0);
    expect(await claimOf(harness)).toEqual({ refused: 'not_found' });
  });
});

describe('a job that is erased while RunPod rejects its cancel', () => {
  it('is invisible at once, and the cancel is retried', async () => {
    const clock = frozenClock();
    const runpod = fakeRunpod();
    runpod.answer.cancel = () => new Response(null, { status: 500 });
    const harness = await createClaimedJob();
    await harness.stub.cancel(ACCOUNT);
    clock.pass(60_000);
    await runAlarm(harness);
    await arrives(harness, 'early.png');
    expect(await harness.stub.erase(ACCOUNT)).toBe('erased');
    expect([await filesOf(harness), await listed(harness), await harness.stub.view(ACCOUNT)]).toEqual([0, 0, null]);
    const asked = runpod.count('cancel');
    runpod.answer.cancel = () => Response.json({});
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    expect(runpod.count('cancel')).toBe(asked + 1);
  });
});
