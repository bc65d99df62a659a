import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, it, vi, type MockInstance } from 'vitest';
import {
  alarmOf,
  connected,
  createJob,
  dialChannel,
  fakeRunpod,
  frozenClock,
  newJob,
  runAlarm,
  harnessOf,
  drained,
  claimAttempt,
  type JobHarness,
} from '../../testing/job.ts';
import type { Job } from './object.ts';

/** A row written is most of what a job costs (docs/operations/benchmarks.md): these are counts, not bounds. */

/** What of a job is stored now: the row that is written with every turn, read by the side. */
const storedEffects = (harness: JobHarness): Promise<number> =>
  runInDurableObject<Job, number>(harness.object, (_job, { storage }) => {
    const { pending } = storage.sql.exec<{ pending: string }>('SELECT pending FROM job').one();
    const effects: unknown[] = JSON.parse(pending);
    return effects.length;
  });

/** The rows that a job's object writes while `work` goes on; setting the alarm is billed as one. */
async function written(harness: JobHarness, work: () => Promise<unknown>): Promise<{ rows: number; alarms: number }> {
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
  const spies = await runInDurableObject<Job, { alarms: MockInstance; exec: MockInstance }>(
    harness.object,
    (_job, { storage }) => {
      const real = storage.sql.exec.bind(storage.sql);
      const exec = vi.spyOn(storage.sql, 'exec').mockImplementation((query, ...values) => {
        const cursor = real(query, ...values);
        cursors.push(cursor);
        return cursor;
      });
      return { exec, alarms: vi.spyOn(storage, 'setAlarm') };
    },
  );
  await work();
  return runInDurableObject(harness.object, () => {
    const counts = {
      rows: cursors.reduce((sum, { rowsWritten }) => sum + rowsWritten, 0),
      alarms: spies.alarms.mock.calls.length,
    };
    spies.exec.mockRestore();
    spies.alarms.mockRestore();
    return counts;
  });
}

describe('rows written by a job', () => {
  it('are three until RunPod has its run, beside two tables and one alarm', async () => {
    fakeRunpod();
    frozenClock();
    const job = newJob();
    const harness = harnessOf(job.id);
    expect(
      await written(harness, async () => {
        await harness.stub.create(job);
        await drained(harness);
      }),
    ).toEqual({ rows: 3 + 2, alarms: 1 });
    // The alarm is that of the first question about the run.
    expect(await alarmOf(harness)).toBe(Date.now() + 5_000);
  });

  it('are none for an early alarm, except for unstored effects', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    await claimAttempt(harness, crypto.randomUUID(), 1);
    await drained(harness);
    expect(await storedEffects(harness)).toBeGreaterThan(0);
    clock.pass(5_000);
    // What was done since the claim is stored now, before the object can go to sleep.
    expect(await written(harness, () => runAlarm(harness))).toEqual({ rows: 1, alarms: 1 });
    expect(await storedEffects(harness)).toBe(0);
    expect(await written(harness, () => runAlarm(harness))).toEqual({ rows: 0, alarms: 1 });
  });

  it('are two between a claim and the first message of its worker', async () => {
    fakeRunpod();
    frozenClock();
    const harness = await createJob();
    await drained(harness);
    const claim = crypto.randomUUID();
    expect(
      await written(harness, async () => {
        await claimAttempt(harness, claim, 1);
        await drained(harness);
        await connected(dialChannel(harness, 1, claim));
      }),
    ).toEqual({ rows: 2, alarms: 0 });
    expect(await storedEffects(harness)).toBe(0);
  });
});
