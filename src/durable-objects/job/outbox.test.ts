import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NO_FILTERS } from '../../storage/d1/job-list.ts';
import * as projection from '../../storage/d1/jobs.ts';
import {
  ACCOUNT,
  alarmOf,
  createClaimedJob,
  createJob,
  fakeRunpod,
  deferredAnswer,
  frozenClock,
  newJob,
  outbox,
  runAlarm,
  harnessOf,
  drained,
  claimAttempt,
  until,
  view,
} from '../../testing/job.ts';
import type { Job } from './object.ts';
import { EFFECT_LIMIT_MS, Outbox } from './outbox.ts';
import { Pending, type PendingEffect } from './pending.ts';

/**
 * Guards the outbox: each effect is stored with the state that caused it, and retried until it is done.
 *
 * An effect may run again after a crash, but never twice at the same time, and a stale one must not change anything. An
 * effect that is requested again while it runs must not keep the alarm running without end.
 */

const statusInList = async (id: string) =>
  (await projection.listJobs(env.DB, ACCOUNT, NO_FILTERS, { limit: 100, before: null })).find((job) => job.id === id)
    ?.status;

describe('the projection', () => {
  it('shows the end of a job when its first write was slow', async () => {
    fakeRunpod();
    const slow = Promise.withResolvers<null>();
    const write = env.DB.batch.bind(env.DB);
    const spy = vi.spyOn(env.DB, 'batch').mockImplementationOnce(async (statements) => {
      await slow.promise;
      return write(statements);
    });
    onTestFinished(() => spy.mockRestore());
    const harness = await createJob();
    await until(() => expect(spy).toHaveBeenCalledTimes(1));
    await harness.stub.cancel(ACCOUNT);
    await until(async () => expect(await statusInList(harness.id)).toBe('canceled'));
    await runInDurableObject(harness.object, () => slow.resolve(null));
    await drained(harness);
    expect(await statusInList(harness.id)).toBe('canceled');
  });
});

describe('an effect that is requested again while it is in progress', () => {
  it('does not make the alarm ring endlessly', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    const answer = deferredAnswer();
    runpod.answer.status = () => answer.promise;
    await harness.stub.onProviderWebhook(1);
    await until(() => expect(runpod.count('status')).toBe(1));
    clock.pass(4_000);
    await harness.stub.onProviderWebhook(1);
    expect(await alarmOf(harness)).toBeGreaterThan(Date.now());
    await answer.give(harness, () => Response.json({ status: 'IN_QUEUE' }));
    await until(async () => expect(await outbox(harness)).toEqual([]));
    expect(runpod.count('status')).toBe(2);
  });

  it('exceeds its lease without running twice at a time', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    const answer = deferredAnswer();
    runpod.answer.status = () => answer.promise;
    await harness.stub.onProviderWebhook(1);
    await until(() => expect(runpod.count('status')).toBe(1));
    clock.pass(45_000);
    await harness.stub.rearm();
    expect(runpod.count('status')).toBe(1);
    expect(await alarmOf(harness)).toBeGreaterThan(Date.now());
    await answer.give(harness, () => Response.json({ status: 'IN_QUEUE' }));
    await drained(harness);
  });
});

describe('a stale send', () => {
  it.each(['canceled', 'claimed'])('starts no run for a job that is %s meanwhile', async (meanwhile) => {
    const runpod = fakeRunpod();
    const job = newJob();
    const harness = harnessOf(job.id);
    // As after a crash: the effect is stored, not begun, and due later.
    runpod.answer.run = () => new Response(null, { status: 429 });
    await harness.stub.create(job);
    await drained(harness);
    await runInDurableObject<Job, void>(harness.object, (_job, state) => {
      const send: PendingEffect = {
        effect: { kind: 'send', attempt: 1 },
        due_at: Date.now(),
        tries: 0,
        started: false,
      };
      state.storage.sql.exec('UPDATE job SET pending = ?', JSON.stringify([send]));
    });
    await abortAllDurableObjects();
    if (meanwhile === 'canceled') {
      await harness.stub.cancel(ACCOUNT);
    } else {
      await claimAttempt(harness, crypto.randomUUID(), 1);
    }
    await harness.stub.rearm();
    await drained(harness);
    expect(runpod.count('run')).toBe(1);
  });
});

describe('a call of RunPod', () => {
  it('cancels a run that was accepted after the job was canceled', async () => {
    const runpod = fakeRunpod();
    const answer = deferredAnswer();
    runpod.answer.run = () => answer.promise;
    const harness = await createJob();
    await until(() => expect(runpod.count('run')).toBe(1));
    expect(await harness.stub.cancel(ACCOUNT)).toMatchObject({ status: 'canceled' });
    expect(runpod.count('cancel')).toBe(0);
    await answer.give(harness, () => Response.json({ id: 'late-1' }));
    await until(() => expect(runpod.count('cancel')).toBe(1));
    expect(runpod.calls.at(-1)?.url.pathname).toBe('/v2/ep1/cancel/late-1');
    await drained(harness);
  });

  it('is retried for the same attempt when the alarm rings after a temporary refusal', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = () => new Response(null, { status: 429, headers: { 'retry-after': '7' } });
    const harness = await createJob();
    await drained(harness);
    // The alarm was set for the first question about the run, before RunPod refused it. It finds nothing due.
    clock.pass(5_000);
    await runAlarm(harness);
    expect(runpod.count('run')).toBe(1);
    expect(await alarmOf(harness)).toBe(Date.now() + 2_000);
    runpod.answer.run = () => Response.json({ id: 'r' });
    clock.pass(2_000);
    await runAlarm(harness);
    await drained(harness);
    expect(runpod.count('run')).toBe(2);
    expect((await view(harness)).attempts).toHaveLength(1);
  });

  it('fails the job after a permanent refusal', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response('{}', { status: 400 });
    const harness = await createJob();
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'provider_refused' } });
  });

  it.each([
    ['a server error', () => new Response('', { status: 502 })],
    ['no JSON', () => new Response('<html>')],
    ['no id', () => Response.json({ status: 'IN_QUEUE' })],
  ])('is made again, for a new attempt, only after the wait that follows %s', async (_name, answer) => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = answer;
    const harness = await createJob();
    await drained(harness);
    clock.pass(59_999);
    await runAlarm(harness);
    expect(runpod.count('run')).toBe(1);
    clock.pass(1);
    await runAlarm(harness);
    await drained(harness);
    expect(runpod.count('run')).toBe(2);
    expect((await view(harness)).attempts.map((attempt) => attempt.status)).toEqual(['superseded', 'waiting']);
  });

  it("polls a silent run well within RunPod's retention", async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob();
    await drained(harness);
    for (let polls = 1; polls <= 3; polls += 1) {
      clock.pass(30_000);
      await runAlarm(harness);
      await drained(harness);
      expect(runpod.count('status')).toBe(polls);
    }
  });

  it('polls far less often than webhooks arrive', async () => {
    const runpod = fakeRunpod();
    frozenClock();
    const harness = await createJob();
    await drained(harness);
    await Promise.all(Array.from({ length: 100 }, () => harness.stub.onProviderWebhook(1)));
    await drained(harness);
    expect(runpod.count('status')).toBeLessThanOrEqual(2);
  });

  it("stops canceling a run that RunPod's own limit has ended", async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.cancel = () => new Response(null, { status: 401 });
    const harness = await createClaimedJob();
    await harness.stub.cancel(ACCOUNT);
    clock.pass(15_000);
    await runAlarm(harness);
    await until(async () => expect(await outbox(harness)).toEqual(['cancel_run:1']));
    clock.pass(900_000 + 180_000);
    await runAlarm(harness);
    expect(await outbox(harness)).toEqual([]);
  });
});

describe('an effect that never ends', () => {
  it.each(['project', 'release', 'ask_admission'] as const)(
    'is abandoned at EFFECT_LIMIT_MS and retried: %s',
    async (kind) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      onTestFinished(() => {
        vi.useRealTimers();
      });
      const pending = new Pending([]);
      const silent = new Outbox({
        store: { pending, flush: () => {} },
        isRelevant: () => true,
        willStoreSoon: () => false,
        perform: () => new Promise(() => {}),
        onSignal: () => {},
      });
      pending.add({ kind }, Date.now());
      let ended = false;
      const work = silent.drain(Date.now()).finally(() => {
        ended = true;
      });
      await vi.advanceTimersByTimeAsync(EFFECT_LIMIT_MS - 1);
      expect(ended).toBe(false);
      await vi.advanceTimersByTimeAsync(1);
      await work;
      expect(pending.keys()).toEqual([kind]);
      expect(pending.nextDue()).toBeGreaterThan(Date.now());
    },
  );
});
