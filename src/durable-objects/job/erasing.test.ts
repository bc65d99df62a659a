import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { NewJob } from '../../contract/new-job.ts';
import { UPLOAD_GRACE_MS } from '../../contract/worker.ts';
import { outputKey } from '../../storage/r2/keys.ts';
import {
  ACCOUNT,
  alarmOf,
  claimed,
  fakeRunpod,
  heldClock,
  newJob,
  ring,
  settled,
  WORKER,
  type Rig,
} from '../../testing/job.ts';

const listed = async ({ id }: Rig) =>
  (await env.DB.prepare('SELECT count(*) AS n FROM jobs WHERE id = ?').bind(id).first<number>('n')) ?? 0;
const filesOf = async ({ id }: Rig) => (await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${id}/` })).objects.length;
/** A file of the first attempt reaches R2 by a URL that its worker was given. */
const arrives = ({ id }: Rig, name: string) => env.BUCKET.put(outputKey(ACCOUNT, id, 1, name), 'x');
/** What a worker is told: `over` while the object knows the job, `not_found` when nothing is left of it. */
const claimOf = ({ stub }: Rig) => stub.claim({ attempt: 1, claim: 'c', worker: WORKER });

/** A job that failed at its worker, which has URLs for fifteen minutes and the grace. */
async function failed(over: Partial<NewJob> = {}): Promise<Rig> {
  const rig = await claimed({ deadline: newJob().created_at + 900_000, ...over });
  await rig.stub.complete({
    attempt: 1,
    claim: rig.claim,
    last_seq: 0,
    outcome: 'failed',
    error: { code: 'execution_error', message: 'no', at: 'workflow', retryable: false },
    outputs: [],
    timings: {},
    usage: {},
  });
  await settled(rig);
  return rig;
}

describe('a job that is erased while its worker may still put files', () => {
  it('takes them along when no more can come, and is gone for everybody until then', async () => {
    const clock = heldClock();
    fakeRunpod();
    const rig = await failed();
    await arrives(rig, 'early.png');
    expect(await rig.stub.erase(ACCOUNT)).toBe('erased');
    expect([await filesOf(rig), await listed(rig), await rig.stub.view(ACCOUNT)]).toEqual([0, 0, null]);
    expect(await rig.stub.erase(ACCOUNT)).toBe('not_found');
    await arrives(rig, 'late.png');
    clock.pass(900_000 + UPLOAD_GRACE_MS);
    await ring(rig);
    expect(await claimOf(rig)).toEqual({ refused: 'over' });
    clock.pass(600_000);
    await ring(rig);
    expect(await filesOf(rig)).toBe(0);
    expect(await claimOf(rig)).toEqual({ refused: 'not_found' });
    expect(await alarmOf(rig)).toBeNull();
  });

  it('also when its time to be kept is shorter', async () => {
    const clock = heldClock();
    fakeRunpod();
    const rig = await failed({ retention_ms: 60_000 });
    clock.pass(60_000);
    await ring(rig);
    expect([await listed(rig), await rig.stub.view(ACCOUNT)]).toEqual([0, null]);
    await arrives(rig, 'late.png');
    clock.pass(900_000 + UPLOAD_GRACE_MS + 600_000);
    await ring(rig);
    expect(await filesOf(rig)).toBe(0);
    expect(await claimOf(rig)).toEqual({ refused: 'not_found' });
  });
});

describe('a job that is erased while RunPod does not take its cancel', () => {
  it('is gone at once, and RunPod is asked on', async () => {
    const clock = heldClock();
    const runpod = fakeRunpod();
    runpod.answer.cancel = () => new Response(null, { status: 500 });
    const rig = await claimed();
    await rig.stub.cancel(ACCOUNT);
    clock.pass(60_000);
    await ring(rig);
    await arrives(rig, 'early.png');
    expect(await rig.stub.erase(ACCOUNT)).toBe('erased');
    expect([await filesOf(rig), await listed(rig), await rig.stub.view(ACCOUNT)]).toEqual([0, 0, null]);
    const asked = runpod.count('cancel');
    runpod.answer.cancel = () => Response.json({});
    clock.pass(60_000);
    await ring(rig);
    await settled(rig);
    expect(runpod.count('cancel')).toBe(asked + 1);
  });
});
