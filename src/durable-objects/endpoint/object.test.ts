import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { PROBE_MS } from '../../domain/endpoint/circuit-breaker.ts';
import { fakeRunpod, frozenClock, runpodHealth, until } from '../../testing/job.ts';
let tests = 0;

/**
 * An endpoint that no other test has touched, with RunPod and the time in the test's hand. It opens after three
 * failures, for 10 s.
 */
function harness() {
  tests += 1;
  const name = `frail-${tests}`;
  const object = () => env.ENDPOINT.getByName(name);
  return {
    clock: frozenClock(),
    runpod: fakeRunpod(),
    get stub() {
      return env.ENDPOINT.getByName(name);
    },
    alarm: () => runInDurableObject(object(), (_endpoint, state) => state.storage.getAlarm()),
    ring: async () => expect(await runDurableObjectAlarm(object())).toBe(true),
    /** The process ends without a word; storage stays. */
    crash: abortAllDurableObjects,
  };
}
type Rig = ReturnType<typeof harness>;

async function opened(): Promise<Rig> {
  const made = harness();
  for (const job of ['a', 'b', 'c']) {
    await made.stub.acquire(job);
    await made.stub.reportOutcome(job, 'failed', null);
  }
  return made;
}

describe('a healthy endpoint', () => {
  it('lets every job through, needs reports of failures only, and does not poll RunPod', async () => {
    const { stub, runpod, alarm } = harness();
    for (const job of ['a', 'b', 'c']) {
      expect(await stub.acquire(job)).toEqual({ kind: 'go', report: 'trouble' });
    }
    expect(await stub.breakerState()).toEqual({ mode: 'closed', cause: null, retry_at: null, waiting: 0 });
    expect(await alarm()).toBeNull();
    expect(runpod.calls).toEqual([]);
  });

  it('needs a report of every call after a failed one', async () => {
    const { stub } = harness();
    await stub.reportOutcome('a', 'failed', null);
    expect(await stub.acquire('b')).toEqual({ kind: 'go', report: 'all' });
  });
});

describe('an endpoint whose calls fail', () => {
  it('holds jobs back until its pause ends, and counts them', async () => {
    const { stub, alarm } = await opened();
    const answers = [await stub.acquire('d'), await stub.acquire('e'), await stub.acquire('d')];
    for (const answer of answers) {
      expect(answer).toMatchObject({ kind: 'wait', cause: 'failing' });
    }
    expect(await stub.breakerState()).toMatchObject({ mode: 'open', waiting: 2, retry_at: Date.now() + 10_000 });
    expect(await alarm()).toBe(Date.now() + 10_000);
  });

  it('forgets a waiting job that does not ask again', async () => {
    const { stub, clock } = await opened();
    await stub.acquire('d');
    clock.pass(60_000);
    expect(await stub.breakerState()).toMatchObject({ waiting: 0 });
  });

  it('holds jobs back after a crash too', async () => {
    const made = await opened();
    await made.crash();
    expect(await made.stub.acquire('d')).toMatchObject({ kind: 'wait' });
    expect(await made.alarm()).not.toBeNull();
  });

  it('polls health when its alarm rings, then lets one job through, and all after that run is accepted', async () => {
    const { stub, clock, runpod, ring, alarm } = await opened();
    clock.pass(10_000);
    await ring();
    expect(runpod.calls.map(({ operation }) => operation)).toEqual(['health']);
    expect(await stub.breakerState()).toMatchObject({ mode: 'half_open', retry_at: null });
    expect(await stub.acquire('d')).toEqual({ kind: 'go', report: 'all' });
    expect(await stub.acquire('e')).toMatchObject({ kind: 'wait' });
    await stub.reportOutcome('d', 'ok', null);
    expect(await stub.acquire('e')).toEqual({ kind: 'go', report: 'trouble' });
    expect(await alarm()).toBeNull();
  });

  it('stays open for twice the pause while health does not answer', async () => {
    const { stub, clock, runpod, ring, alarm } = await opened();
    runpod.answer.health = () => new Response(null, { status: 500 });
    clock.pass(10_000);
    await ring();
    expect(await stub.breakerState()).toMatchObject({ mode: 'open', cause: 'failing', retry_at: Date.now() + 20_000 });
    expect(await alarm()).toBe(Date.now() + 20_000);
  });

  it('is probed when a job asks after its alarm was lost', async () => {
    const { stub, clock } = await opened();
    clock.pass(10_000);
    expect(await stub.acquire('d')).toMatchObject({ kind: 'wait' });
    await until(async () => expect(await stub.breakerState()).toMatchObject({ mode: 'half_open' }));
  });

  it('stops its alarm when it is no longer configured', async () => {
    fakeRunpod();
    frozenClock();
    const gone = env.ENDPOINT.getByName('removed');
    for (const job of ['a', 'b', 'c', 'd', 'e']) {
      await gone.reportOutcome(job, 'failed', null);
    }
    expect(await gone.breakerState()).toMatchObject({ mode: 'open' });
    const object = env.ENDPOINT.getByName('removed');
    expect(await runDurableObjectAlarm(object)).toBe(true);
    expect(await runInDurableObject(object, (_endpoint, state) => state.storage.getAlarm())).toBeNull();
  });

  it('counts calls of /run and their outcomes', async () => {
    const { stub } = await opened();
    expect(await stub.status()).toMatchObject({ counts: { sent: 3, failed: 3, refused: 0 } });
  });
});

describe('an endpoint that RunPod refuses', () => {
  it.each([401, 402, 403, 404])('opens its circuit breaker at once when health answers %d', async (status) => {
    const { stub, runpod } = harness();
    runpod.answer.health = () => new Response(null, { status });
    await stub.capacity();
    expect(await stub.breakerState()).toMatchObject({ mode: 'open', cause: 'refused' });
  });
});

describe('the health of an endpoint', () => {
  it('is polled once for all callers within FRESH_MS', async () => {
    const { stub, clock, runpod } = harness();
    await Promise.all(Array.from({ length: 50 }, () => stub.capacity()));
    await stub.status();
    expect(runpod.count('health')).toBe(1);
    clock.pass(3_000);
    await Promise.all([stub.capacity(), stub.status(), stub.capacity()]);
    expect(runpod.count('health')).toBe(2);
  });

  it('tells what a run waits for', async () => {
    const { stub, clock, runpod } = harness();
    const seen: unknown[] = [];
    for (const workers of [{ initializing: 1 }, { throttled: 1 }, { running: 1 }]) {
      runpod.answer.health = () => runpodHealth(workers, 1);
      seen.push(await stub.capacity());
      clock.pass(3_000);
    }
    expect(seen).toEqual([
      { stage: 'cold_start', no_workers: false },
      { stage: 'capacity', no_workers: false },
      { stage: 'capacity', no_workers: false },
    ]);
  });

  it('opens the circuit breaker after a time without workers, and closes it when there is one', async () => {
    const { stub, clock, runpod } = harness();
    runpod.answer.health = () => runpodHealth({}, 1);
    expect(await stub.capacity()).toEqual({ stage: 'capacity', no_workers: false });
    clock.pass(59_999);
    expect(await stub.capacity()).toEqual({ stage: 'capacity', no_workers: false });
    clock.pass(3_000);
    expect(await stub.capacity()).toEqual({ stage: 'capacity', no_workers: true });
    expect(await stub.breakerState()).toMatchObject({ mode: 'open', cause: 'no_workers' });
    runpod.answer.health = () => runpodHealth({ initializing: 1 }, 1);
    clock.pass(3_000);
    expect(await stub.capacity()).toEqual({ stage: 'cold_start', no_workers: false });
    expect(await stub.breakerState()).toMatchObject({ mode: 'closed' });
  });

  /** Shut for want of workers, its pause over, and one job let through as nothing waits there any more. */
  async function probed(): Promise<Rig> {
    const made = harness();
    made.runpod.answer.health = () => runpodHealth({}, 1);
    await made.stub.capacity();
    made.clock.pass(60_000);
    await made.stub.capacity();
    made.runpod.answer.health = () => runpodHealth({}, 0);
    made.clock.pass(10_000);
    await made.ring();
    expect(await made.stub.acquire('probe')).toMatchObject({ kind: 'go' });
    await made.stub.reportOutcome('probe', 'ok', null);
    expect(await made.stub.acquire('next')).toMatchObject({ kind: 'wait', cause: 'no_workers' });
    return made;
  }

  it('is polled by waiting jobs and closes the circuit breaker when a worker has the probe run', async () => {
    const { stub, clock, runpod } = await probed();
    runpod.answer.health = () => runpodHealth({ running: 1 }, 0);
    clock.pass(3_000);
    await stub.acquire('next');
    await until(async () => expect(await stub.breakerState()).toMatchObject({ mode: 'closed' }));
    expect(await stub.acquire('next')).toMatchObject({ kind: 'go' });
  });

  it('lets the next job through soon after the probe run was canceled', async () => {
    const { stub, clock, runpod } = await probed();
    clock.pass(PROBE_MS);
    const asked = runpod.count('health');
    await stub.acquire('next');
    await until(() => expect(runpod.count('health')).toBe(asked + 1));
    await until(async () => expect(await stub.acquire('next')).toMatchObject({ kind: 'go' }));
  });

  it('keeps over a crash since when there have been no workers', async () => {
    const made = harness();
    made.runpod.answer.health = () => runpodHealth({}, 1);
    await made.stub.capacity();
    made.clock.pass(30_000);
    await made.crash();
    await made.stub.capacity();
    made.clock.pass(30_000);
    expect(await made.stub.capacity()).toEqual({ stage: 'capacity', no_workers: true });
  });

  it('is null in the status while it is unknown', async () => {
    const { stub, runpod, clock } = harness();
    expect(await stub.status()).toMatchObject({ health: { workers: { idle: 1, throttled: 0 }, in_queue: 0 } });
    clock.pass(3_000);
    runpod.answer.health = () => new Response('<html>');
    expect(await stub.status()).toMatchObject({ health: null });
  });
});
