import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NO_FILTERS } from '../../storage/d1/job-list.ts';
import { listJobs } from '../../storage/d1/jobs.ts';
import {
  ACCOUNT,
  alarmOf,
  createClaimedJob,
  connected,
  createJob,
  dialChannel,
  dialWatch,
  fakeRunpod,
  deferredAnswer,
  frozenClock,
  outbox,
  runAlarm,
  drained,
  until,
  view,
  type JobHarness,
} from '../../testing/job.ts';
import type { Job } from './object.ts';

/**
 * Guards recovery of a job after its process ends at any moment.
 *
 * A crash drops memory, sockets and calls in progress; only SQLite and the alarm are kept. These tests hold what
 * follows from that: an unknown outcome of `/run` is never repeated, a lost worker is replaced after its grace, and the
 * alarm is never lost, because without it no job would reach its end.
 */

afterEach(() => {
  vi.restoreAllMocks();
});

/** The process ends without a word, sockets and all; storage stays. */
const crash = abortAllDurableObjects;

describe('after a crash', () => {
  it('during /run the call is not repeated: the attempt times out and is fenced off', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = () => deferredAnswer().promise;
    const harness = await createJob();
    await until(() => expect(runpod.count('run')).toBe(1));
    await crash();
    runpod.answer.run = () => Response.json({ id: 'second' });
    expect((await view(harness)).attempts).toHaveLength(1);
    await runAlarm(harness);
    expect(runpod.count('run')).toBe(1);
    expect(await outbox(harness)).not.toContain('send:1');
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    expect(runpod.count('run')).toBe(2);
    expect((await view(harness)).attempts.map((attempt) => attempt.status)).toEqual(['superseded', 'waiting']);
  });

  it('during /run a worker of that attempt can still claim it', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => deferredAnswer().promise;
    const harness = await createJob();
    await until(() => expect(runpod.count('run')).toBe(1));
    await crash();
    const claim = crypto.randomUUID();
    expect(await harness.stub.claim({ attempt: 1, claim, worker: { id: 'w', version: 't' } })).toHaveProperty(
      'granted',
    );
    expect(runpod.count('run')).toBe(1);
  });

  it('a job and its alarm continue from the stored state', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const channel = await connected(dialChannel(harness, 1, harness.claim));
    await channel.next();
    expect(await channel.ask({ seq: 1, type: 'stage', stage: 'executing' })).toEqual({ ack: 1 });
    const before = await view(harness);
    const rings = await alarmOf(harness);
    await crash();
    expect(await view(harness)).toMatchObject({ ...before, stage: 'executing' });
    expect(rings).not.toBeNull();
    expect(await alarmOf(harness)).not.toBeNull();
  });

  it('the channel counts as closed, and the worker may reconnect within channel_grace and resend', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createClaimedJob();
    const channel = await connected(dialChannel(harness, 1, harness.claim));
    await channel.next();
    await channel.ask({ seq: 1, type: 'stage', stage: 'models' });
    await crash();
    await view(harness);
    clock.pass(29_999);
    await harness.stub.rearm();
    const back = await connected(dialChannel(harness, 1, harness.claim));
    expect(await back.next()).toEqual({ ack: 1 });
    clock.pass(29_999);
    await harness.stub.rearm();
    expect((await view(harness)).attempts).toHaveLength(1);
  });

  it('a worker that does not reconnect is replaced', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createClaimedJob();
    await connected(dialChannel(harness, 1, harness.claim));
    await crash();
    await view(harness);
    clock.pass(30_000);
    await runAlarm(harness);
    expect((await view(harness)).attempts.map((attempt) => attempt.status)).toEqual(['lost', 'waiting']);
  });

  it('a projection that was in progress is written', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => deferredAnswer().promise;
    const write = env.DB.prepare.bind(env.DB);
    vi.spyOn(env.DB, 'prepare').mockImplementation((query) => {
      if (query.includes('INSERT INTO jobs')) {
        throw new Error('D1 is away');
      }
      return write(query);
    });
    const harness = await createJob();
    await until(() => expect(runpod.count('run')).toBe(1));
    await crash();
    vi.restoreAllMocks();
    fakeRunpod();
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    const jobs = await listJobs(env.DB, ACCOUNT, NO_FILTERS, { limit: 100, before: null });
    expect(jobs.find((job) => job.id === harness.id)?.status).toBe('canceled');
  });
});

describe('hibernation', () => {
  it('keeps the channel and the watchers open', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const channel = await connected(dialChannel(harness, 1, harness.claim));
    await channel.next();
    const watcher = await connected(dialWatch(harness, null));
    const snapshot = await watcher.next();
    for (let seq = 1; seq <= 3; seq += 1) {
      await evictDurableObject(harness.object);
      expect(await channel.ask({ seq, type: 'log', level: 'info', message: `m${seq}` })).toEqual({ ack: seq });
      expect(await watcher.next()).toMatchObject({ event: 'log', data: { message: `m${seq}` } });
    }
    expect(snapshot).toMatchObject({ event: 'snapshot' });
    await evictDurableObject(harness.object);
    await harness.stub.cancel(ACCOUNT);
    expect(await channel.next()).toEqual({ cancel: true, reason: 'client' });
    expect(await watcher.next()).toMatchObject({ event: 'status', data: { status: 'canceling' } });
  });

  it('leaves the alarm unchanged', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    // The first alarm stores which effects are done. Without it a new instance would repeat them, and set an alarm for
    // that.
    clock.pass(5_000);
    await runAlarm(harness);
    await drained(harness);
    const rings = await alarmOf(harness);
    expect(rings).toBeGreaterThan(Date.now() + 10_000);
    await evictDurableObject(harness.object);
    await view(harness);
    expect(await alarmOf(harness)).toBe(rings);
  });
});

const failingErase = async (harness: JobHarness) => {
  await runAlarm(harness);
  expect((await view(harness)).status).toBe('canceled');
  expect(await alarmOf(harness)).toBeGreaterThan(Date.now());
};

describe('the alarm', () => {
  it('is not lost when erasing a job fails, and erases it later', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    clock.pass(7 * 86_400_000);
    const away = vi.spyOn(env.BUCKET, 'list').mockRejectedValue(new Error('R2 is away'));
    await failingErase(harness);
    away.mockRestore();
    const half = vi.spyOn(env.DB, 'prepare').mockImplementation(() => {
      throw new Error('D1 is away');
    });
    await failingErase(harness);
    half.mockRestore();
    clock.pass(60_000);
    await runAlarm(harness);
    expect(await harness.stub.view(ACCOUNT)).toBeNull();
  });

  it('is not lost while the gateway is misconfigured', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    clock.pass(900_000);
    await runInDurableObject<Job, void>(harness.object, (job) => {
      const broken = vi.spyOn(job as unknown as { config: unknown }, 'config', 'get').mockImplementation(() => {
        throw new Error('misconfigured');
      });
      return job.alarm().finally(() => broken.mockRestore());
    });
    expect((await view(harness)).status).toBe('queued');
    expect(await alarmOf(harness)).toBe(Date.now() + 60_000);
    await runAlarm(harness);
    expect((await view(harness)).status).toBe('expired');
  });

  it('ends every job by its deadline and grace, from every stage', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const waiting = await createJob({ deadline: Date.now() + 20_000 });
    const running = await createClaimedJob({ deadline: Date.now() + 20_000 });
    const channel = await connected(dialChannel(running, 1, running.claim));
    await channel.next();
    await drained(waiting);
    clock.pass(20_000);
    await runAlarm(waiting);
    await runAlarm(running);
    expect((await view(waiting)).status).toBe('expired');
    expect((await view(running)).status).toBe('running');
    expect(await channel.next()).toEqual({ cancel: true, reason: 'deadline' });
    clock.pass(29_999);
    await running.stub.rearm();
    expect((await view(running)).status).toBe('running');
    clock.pass(1);
    await runAlarm(running);
    expect(await view(running)).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
    expect(await channel.closed).toMatchObject({ code: 4410 });
  });
});
