import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { env } from 'cloudflare:workers';
import {
  ACCOUNT,
  alarmOf,
  createJob,
  fakeRunpod,
  frozenClock,
  runAlarm,
  runpodHealth,
  drained,
  claimAttempt,
  view,
  type FakeRunpod,
  type JobHarness,
} from '../../testing/job.ts';
import { CLOSED_FRESH_MS } from './closed-endpoints.ts';

let tests = 0;

/**
 * A pair of endpoints that no other test has touched: `own` opens after three failures for 10 s and falls back on
 * `spare`.
 */
function pair() {
  tests += 1;
  const own = `leaning-${tests}`;
  const spare = `spare-${tests}`;
  return { own, spare, fallbacks: [{ endpoint: spare, price_per_second: null }] };
}

async function shut(endpoint: string): Promise<void> {
  for (const job of ['x', 'y', 'z']) {
    await env.ENDPOINT.getByName(endpoint).reportOutcome(job, 'failed', null);
  }
  expect(await env.ENDPOINT.getByName(endpoint).breakerState()).toMatchObject({ mode: 'open' });
}

/**
 * Names of this test's endpoints that `/run` was called at, in order. RunPod's ids of them are their names. What jobs
 * of other tests still do counts for nothing.
 */
const sentTo = (runpod: FakeRunpod): string[] =>
  runpod.calls
    .filter(({ operation }) => operation === 'run')
    .flatMap(({ url }) => url.pathname.split('/')[2] ?? [])
    .filter((name) => [`leaning-${tests}`, `spare-${tests}`].includes(name));

/** Rings the job's alarm at its time, or now if that has passed. */
async function ringInTime(harness: JobHarness, clock: { pass: (ms: number) => void }): Promise<void> {
  clock.pass(Math.max(0, ((await alarmOf(harness)) ?? 0) - Date.now()));
  await runAlarm(harness);
  await drained(harness);
}

describe('a job whose endpoint has an open circuit breaker', () => {
  it('runs at the fallback, where its run is also polled and canceled', async () => {
    const runpod = fakeRunpod();
    const { own, spare, fallbacks } = pair();
    runpod.answer.run = () => Response.json({ id: 'mine' });
    await shut(own);
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    await harness.stub.onProviderWebhook(1);
    await drained(harness);
    await harness.stub.cancel(ACCOUNT);
    await drained(harness);
    const asked = runpod.calls.filter(
      ({ operation, url }) => operation !== 'health' && url.pathname.includes(`/${spare}/`),
    );
    expect(asked.map(({ url }) => url.pathname)).toEqual([
      `/v2/${spare}/run`,
      `/v2/${spare}/status/mine`,
      `/v2/${spare}/cancel/mine`,
    ]);
    expect(await view(harness)).toMatchObject({ endpoint: own, attempts: [{ endpoint: spare }] });
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ waiting: 0 });
  });

  it('records its worker’s node classes for the endpoint it ran on', async () => {
    fakeRunpod();
    const { own, spare, fallbacks } = pair();
    await shut(own);
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    await claimAttempt(harness, crypto.randomUUID(), 1);
    expect(await harness.stub.attemptEndpoint(1)).toBe(spare);
  });

  it('waits without a fallback and without calls, and runs when the breaker closes', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own } = pair();
    await shut(own);
    const harness = await createJob({ endpoint: own });
    await drained(harness);
    expect(sentTo(runpod)).toEqual([]);
    expect(await view(harness)).toMatchObject({
      status: 'queued',
      stage: 'capacity',
      attempts: [{ status: 'waiting' }],
    });
    clock.pass(10_000);
    await env.ENDPOINT.getByName(own).capacity();
    // Set for the first poll of a run, before the job had to wait, so it finds nothing due.
    await ringInTime(harness, clock);
    expect(sentTo(runpod)).toEqual([]);
    await ringInTime(harness, clock);
    expect(sentTo(runpod)).toEqual([own]);
    expect(await view(harness)).toMatchObject({ attempts: [{ number: 1, endpoint: own }] });
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ mode: 'closed' });
  });

  it('waits for both endpoints when both breakers are open', async () => {
    const runpod = fakeRunpod();
    const { own, spare, fallbacks } = pair();
    await shut(own);
    await shut(spare);
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    expect(sentTo(runpod)).toEqual([]);
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ waiting: 1 });
  });

  it('fails with no_capacity at its deadline, without cost', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const { own } = pair();
    await shut(own);
    const harness = await createJob({ endpoint: own });
    await drained(harness);
    clock.pass(900_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({
      status: 'failed',
      error: { code: 'no_capacity', at: 'provider', retryable: true },
      usage: { billed_seconds: 0 },
    });
  });
});

/** How often the object of an endpoint is called from here on. */
function callsOf(endpoint: string): () => number {
  const spy = vi.spyOn(env.ENDPOINT, 'getByName');
  onTestFinished(() => spy.mockRestore());
  return () => spy.mock.calls.filter(([name]) => name === endpoint).length;
}

async function sent(endpoint: string): Promise<JobHarness> {
  const harness = await createJob({ endpoint });
  await drained(harness);
  return harness;
}

describe('a job whose breaker was closed a moment ago', () => {
  it('calls /run without asking the Endpoint object', async () => {
    const runpod = fakeRunpod();
    frozenClock();
    const { own } = pair();
    await sent(own);
    const calls = callsOf(own);
    await sent(own);
    await sent(own);
    expect(sentTo(runpod)).toEqual([own, own, own]);
    expect(calls()).toBe(0);
  });

  it('asks the Endpoint object again after CLOSED_FRESH_MS, and so notices a breaker that opened', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own } = pair();
    await sent(own);
    await shut(own);
    clock.pass(CLOSED_FRESH_MS);
    const harness = await sent(own);
    expect(sentTo(runpod)).toEqual([own]);
    expect(await view(harness)).toMatchObject({ status: 'queued', stage: 'capacity' });
  });

  it('waits when the breaker opened within CLOSED_FRESH_MS and RunPod refuses its run', async () => {
    const runpod = fakeRunpod();
    frozenClock();
    const { own } = pair();
    await sent(own);
    await shut(own);
    runpod.answer.run = () => new Response('{}', { status: 429 });
    const harness = await sent(own);
    expect(sentTo(runpod)).toEqual([own, own]);
    expect(await view(harness)).toMatchObject({ status: 'queued', stage: 'capacity', attempts: [{ number: 1 }] });
  });

  it('asks the Endpoint object again after a call of /run failed', async () => {
    const runpod = fakeRunpod();
    frozenClock();
    const { own } = pair();
    await sent(own);
    runpod.answer.run = () => new Response('{}', { status: 500 });
    await sent(own);
    const calls = callsOf(own);
    runpod.answer.run = () => Response.json({ id: 'taken' });
    await sent(own);
    // One question, and one report: after a failure the endpoint wants to hear of every call.
    expect(calls()).toBe(2);
  });

  it('is counted by the Endpoint object with the next call of acquire', async () => {
    fakeRunpod();
    const clock = frozenClock();
    const { own } = pair();
    await sent(own);
    await sent(own);
    await sent(own);
    clock.pass(CLOSED_FRESH_MS);
    await sent(own);
    expect((await env.ENDPOINT.getByName(own).status()).counts).toMatchObject({ sent: 4 });
  });

  it('asks the Endpoint object when it has waited before, so that it leaves the backlog', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own } = pair();
    await shut(own);
    const harness = await sent(own);
    clock.pass(10_000);
    await env.ENDPOINT.getByName(own).capacity();
    await sent(own);
    await ringInTime(harness, clock);
    // The probe has closed the breaker; this isolate hears so.
    await sent(own);
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ mode: 'closed', waiting: 1 });
    await ringInTime(harness, clock);
    expect(sentTo(runpod)).toEqual([own, own, own]);
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ waiting: 0 });
  });
});

describe('a run that RunPod refuses because of its endpoint', () => {
  it.each([401, 402, 403, 404])('goes to the fallback as the same attempt: %d', async (status) => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own, spare, fallbacks } = pair();
    runpod.answer.run = () =>
      sentTo(runpod).length === 1 ? new Response('{}', { status }) : Response.json({ id: 'taken' });
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    await ringInTime(harness, clock);
    expect(sentTo(runpod)).toEqual([own, spare]);
    expect((await view(harness)).attempts).toMatchObject([{ number: 1, endpoint: spare }]);
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ mode: 'open', cause: 'refused' });
  });

  it('waits without a fallback, and fails at its deadline with the refusal', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = () => new Response('{}', { status: 401 });
    const harness = await createJob({ endpoint: pair().own });
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'queued', stage: 'capacity' });
    clock.pass(900_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'provider_refused' } });
  });
});

describe('many answers of 429', () => {
  it('open the breaker, and the job goes to the fallback', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own, spare, fallbacks } = pair();
    runpod.answer.run = () =>
      sentTo(runpod).at(-1) === own ? new Response('', { status: 429 }) : Response.json({ id: 'taken' });
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    for (let calls = 0; calls < 3; calls += 1) {
      await ringInTime(harness, clock);
    }
    expect(sentTo(runpod)).toEqual([own, own, own, spare]);
    expect((await view(harness)).attempts).toHaveLength(1);
  });
});

describe('the probe job of a half-open breaker', () => {
  it('goes to the fallback within a second when it is refused', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own, spare, fallbacks } = pair();
    await shut(own);
    clock.pass(10_000);
    await env.ENDPOINT.getByName(own).capacity();
    expect(await env.ENDPOINT.getByName(own).breakerState()).toMatchObject({ mode: 'half_open' });
    runpod.answer.run = () =>
      sentTo(runpod).at(-1) === own ? new Response('', { status: 429 }) : Response.json({ id: 'taken' });
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    clock.pass(1_000);
    await runAlarm(harness);
    await drained(harness);
    expect(sentTo(runpod)).toEqual([own, spare]);
  });
});

describe('a run that waits at RunPod', () => {
  it.each([
    [{ initializing: 1 }, 'cold_start'],
    [{ throttled: 1 }, 'capacity'],
    [{ running: 1 }, 'capacity'],
  ])('with workers %j is in stage %s after a few seconds', async (workers, stage) => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.health = () => runpodHealth(workers, 1);
    const harness = await createJob({ endpoint: pair().own });
    await drained(harness);
    clock.pass(5_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'queued', stage });
  });

  it('moves to the fallback after no_workers_after without workers, and is canceled at RunPod', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const { own, spare, fallbacks } = pair();
    runpod.answer.health = () => runpodHealth({}, 1);
    runpod.answer.run = () => Response.json({ id: 'mine' });
    const harness = await createJob({ endpoint: own, fallbacks });
    await drained(harness);
    for (let seconds = 0; seconds <= 90; seconds += 30) {
      clock.pass(30_000);
      await runAlarm(harness);
      await drained(harness);
    }
    expect(sentTo(runpod)).toEqual([own, spare]);
    expect(
      runpod.calls.flatMap(({ operation, url }) =>
        operation === 'cancel' && url.pathname.includes(`/${own}/`) ? url.pathname : [],
      ),
    ).toEqual([`/v2/${own}/cancel/mine`]);
    expect((await view(harness)).attempts).toMatchObject([
      { endpoint: own, status: 'superseded', error: { code: 'no_capacity' } },
      { endpoint: spare, status: 'waiting' },
    ]);
  });

  it('fails with no_capacity at its deadline without workers and without a fallback', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.health = () => runpodHealth({}, 1);
    const harness = await createJob({ endpoint: pair().own, deadline: Date.now() + 120_000 });
    await drained(harness);
    for (let seconds = 0; seconds < 120; seconds += 30) {
      clock.pass(30_000);
      await runAlarm(harness);
      await drained(harness);
    }
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'no_capacity' } });
  });

  it('expires at its deadline behind busy workers', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.health = () => runpodHealth({ running: 1 }, 1);
    const harness = await createJob({ endpoint: pair().own, deadline: Date.now() + 60_000 });
    await drained(harness);
    for (let seconds = 0; seconds < 60; seconds += 30) {
      clock.pass(30_000);
      await runAlarm(harness);
      await drained(harness);
    }
    expect(await view(harness)).toMatchObject({ status: 'expired', error: null });
  });
});
