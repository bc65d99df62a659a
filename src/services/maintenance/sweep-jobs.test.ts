import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LogEntry } from '../../providers/log.ts';
import {
  ACCOUNT,
  alarmOf,
  createJob,
  fakeRunpod,
  frozenClock,
  newId,
  drained,
  view,
  type JobHarness,
} from '../../testing/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import { uuidV7 } from '../../lib/ids.ts';
import { NO_FILTERS } from '../../storage/d1/job-list.ts';
import { listJobs, projectJob } from '../../storage/d1/jobs.ts';
import { requireConfig } from '../../config/schema.ts';
import { sweepUnfinishedJobs, sweepFinishedJobs } from './sweep-jobs.ts';

const statusInList = async (id: string) =>
  (await listJobs(env.DB, ACCOUNT, NO_FILTERS, { limit: 100, before: null })).find((job) => job.id === id)?.status;

beforeEach(async () => {
  await env.DB.exec('DELETE FROM jobs');
});

const OVERDUE_MS = 900_000 + 120_001;

describe('sweeping unfinished jobs', () => {
  it('ends a job that lost its alarm', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    await runInDurableObject(harness.object, (_job, state) => state.storage.deleteAlarm());
    clock.pass(OVERDUE_MS);
    expect(await sweepUnfinishedJobs(env, Date.now())).toBe(1);
    await drained(harness);
    expect((await view(harness)).status).toBe('expired');
    expect(await statusInList(harness.id)).toBe('expired');
    expect(await alarmOf(harness)).not.toBeNull();
    expect(await sweepUnfinishedJobs(env, Date.now())).toBe(0);
  });

  it('lists a finished job as finished', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    const queued = await view(harness);
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    // Simulates that the last write to the list was lost.
    await env.DB.exec('DELETE FROM jobs');
    await projectJob(env.DB, queued);
    clock.pass(OVERDUE_MS);
    await sweepUnfinishedJobs(env, Date.now());
    await drained(harness);
    expect(await statusInList(harness.id)).toBe('canceled');
  });

  it('removes a listed job that has no object', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    const ghost = newId();
    await projectJob(env.DB, { ...(await view(harness)), id: ghost });
    clock.pass(OVERDUE_MS);
    expect(await sweepUnfinishedJobs(env, Date.now())).toBe(2);
    expect(await statusInList(ghost)).toBeUndefined();
    expect(await statusInList(harness.id)).toBeDefined();
  });

  it('leaves jobs before their deadline unchanged', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    clock.pass(OVERDUE_MS - 2);
    expect(await sweepUnfinishedJobs(env, Date.now())).toBe(0);
    expect((await view(harness)).status).toBe('queued');
  });

  it('continues when one job cannot be woken, and logs it', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const [broken, harness] = [await createJob(), await createJob()];
    await drained(broken);
    await drained(harness);
    await runInDurableObject(broken.object, (_job, state) => void state.storage.sql.exec('DROP TABLE job'));
    clock.pass(OVERDUE_MS);
    const lines: LogEntry[] = [];
    expect(await sweepUnfinishedJobs(env, Date.now(), (entry) => lines.push(entry))).toBe(2);
    await drained(harness);
    expect((await view(harness)).status).toBe('expired');
    expect(lines).toEqual([{ event: 'unfinished_jobs_swept', found: 2, failed: 1 }]);
  });
});

describe('sweeping finished jobs', () => {
  const KEPT_MS = requireConfig(env).policy.retention * 1000;

  /** Makes an id with the current time. The shared source of ids never goes back, and other tests moved the clock. */
  const idNow = () => uuidV7(() => Date.now())();

  async function finishedJob(more: Partial<NewJob> = {}): Promise<JobHarness> {
    const harness = await createJob({ id: idNow(), ...more });
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    return harness;
  }

  it('removes a job that lost its alarm, and keeps jobs within their retention', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const lost = await finishedJob();
    await runInDurableObject(lost.object, (_job, state) => state.storage.deleteAlarm());
    clock.pass(KEPT_MS + 3_600_000);
    const kept = await finishedJob();
    await sweepFinishedJobs(env, Date.now());
    expect(await statusInList(lost.id)).toBe('canceled');
    clock.pass(1);
    await sweepFinishedJobs(env, Date.now());
    expect([await statusInList(lost.id), await lost.stub.view(ACCOUNT)]).toEqual([undefined, null]);
    expect(await statusInList(kept.id)).toBe('canceled');
  });

  it('removes a job without an object, and skips jobs that an account keeps longer', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await finishedJob({ retention_ms: 2 * KEPT_MS });
    const ghost = idNow();
    await projectJob(env.DB, { ...(await view(harness)), id: ghost });
    clock.pass(KEPT_MS + 3_600_001);
    await sweepFinishedJobs(env, Date.now());
    expect(await statusInList(ghost)).toBeUndefined();
    expect(await statusInList(harness.id)).toBe('canceled');
    expect((await view(harness)).status).toBe('canceled');
  });

  it('reaches every job over several runs', async () => {
    const clock = frozenClock();
    fakeRunpod();
    const template = await view(await finishedJob());
    await env.DB.exec('DELETE FROM jobs');
    for (let at = 0; at < 150; at += 1) {
      await projectJob(env.DB, { ...template, id: idNow() });
    }
    clock.pass(KEPT_MS + 3_600_001);
    await sweepFinishedJobs(env, Date.now());
    expect(await env.DB.prepare('SELECT count(*) AS n FROM jobs').first('n')).toBe(50);
    await sweepFinishedJobs(env, Date.now());
    expect(await env.DB.prepare('SELECT count(*) AS n FROM jobs').first('n')).toBe(0);
  });
});
