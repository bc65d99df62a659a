import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LogEntry } from '../../providers/log.ts';
import { ACCOUNT, alarmOf, created, fakeRunpod, heldClock, newId, settled, view } from '../../testing/job.ts';
import { NO_FILTERS } from '../../storage/d1/job-list.ts';
import { listJobs, projectJob } from '../../storage/d1/jobs.ts';
import { sweep } from './sweep.ts';

const statusInList = async (id: string) =>
  (await listJobs(env.DB, ACCOUNT, NO_FILTERS, { limit: 100, before: null })).find((job) => job.id === id)?.status;

beforeEach(async () => {
  await env.DB.exec('DELETE FROM jobs');
});

const OVERDUE_MS = 900_000 + 120_001;

describe('the sweeper', () => {
  it('ends a job that lost its alarm', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await created();
    await settled(rig);
    await runInDurableObject(rig.object, (_job, state) => state.storage.deleteAlarm());
    clock.pass(OVERDUE_MS);
    expect(await sweep(env, Date.now())).toBe(1);
    await settled(rig);
    expect((await view(rig)).status).toBe('expired');
    expect(await statusInList(rig.id)).toBe('expired');
    expect(await alarmOf(rig)).not.toBeNull();
    expect(await sweep(env, Date.now())).toBe(0);
  });

  it('lists a job as over that is over', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await created();
    const queued = await view(rig);
    await rig.stub.cancel(ACCOUNT);
    await settled(rig);
    // As if the last write to the list had been lost.
    await env.DB.exec('DELETE FROM jobs');
    await projectJob(env.DB, queued);
    clock.pass(OVERDUE_MS);
    await sweep(env, Date.now());
    await settled(rig);
    expect(await statusInList(rig.id)).toBe('canceled');
  });

  it('forgets a listed job that has no object', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await created();
    await settled(rig);
    const ghost = newId();
    await projectJob(env.DB, { ...(await view(rig)), id: ghost });
    clock.pass(OVERDUE_MS);
    expect(await sweep(env, Date.now())).toBe(2);
    expect(await statusInList(ghost)).toBeUndefined();
    expect(await statusInList(rig.id)).toBeDefined();
  });

  it('leaves alone what is in time', async () => {
    fakeRunpod();
    const clock = heldClock();
    const rig = await created();
    await settled(rig);
    clock.pass(OVERDUE_MS - 2);
    expect(await sweep(env, Date.now())).toBe(0);
    expect((await view(rig)).status).toBe('queued');
  });

  it('goes on when one job cannot be woken, and says so', async () => {
    fakeRunpod();
    const clock = heldClock();
    const [broken, rig] = [await created(), await created()];
    await settled(broken);
    await settled(rig);
    await runInDurableObject(broken.object, (_job, state) => void state.storage.sql.exec('DROP TABLE job'));
    clock.pass(OVERDUE_MS);
    const lines: LogEntry[] = [];
    expect(await sweep(env, Date.now(), (entry) => lines.push(entry))).toBe(2);
    await settled(rig);
    expect((await view(rig)).status).toBe('expired');
    expect(lines).toEqual([{ event: 'swept', found: 2, failed: 1 }]);
  });
});
