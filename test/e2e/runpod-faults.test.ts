import { type ExpectStatic, afterAll, beforeAll, describe, test } from 'vitest';
import {
  type Platform,
  ended,
  eventsOf,
  executing,
  finals,
  numbers,
  quickGraph,
  slowGraph,
  startPlatform,
  until,
  upTo,
} from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform.stop());

/** Runs one job to its end under the faults set before, and checks what must hold of every job. */
async function run(expect: ExpectStatic) {
  const { edge } = platform;
  const job = await edge.jobs.submit({ workflow: quickGraph });
  const events = await eventsOf(edge, job.id);
  const done = await edge.jobs.get(job.id);
  expect(finals(events)).toHaveLength(1);
  expect(numbers(events)).toEqual(upTo(done.last_event));
  return done;
}

describe("RunPod's webhook", () => {
  test.for([
    ['lost', { kind: 'webhook', action: 'lose' }, 'webhook_lost'],
    ['repeated', { kind: 'webhook', action: 'repeat', copies: 5 }, 'webhook_sent'],
    ['late', { kind: 'webhook', action: 'delay', delay_ms: 1_500 }, 'webhook_sent'],
  ] as const)('%s changes nothing of how the job ends', async ([, fault, met], { expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', fault);
    const done = await run(expect);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ status: 'succeeded' }] });
    await platform.happened({ type: met, after: mark });
    expect(await platform.edge.jobs.get(done.id)).toEqual(done);
  });
});

describe("RunPod's status 404", () => {
  test('while the worker runs the job: it succeeds all the same', async ({ expect }) => {
    const { edge } = platform;
    const mark = platform.runpod.events.last;
    const job = await edge.jobs.submit({ workflow: slowGraph(3) });
    await until(edge, job.id, executing);
    const queued = await platform.happened({ type: 'job_queued', after: mark });
    await platform.admin(`/endpoints/local/jobs/${'job' in queued ? queued.job : ''}/forget`, {});
    // The local RunPod stops a run it forgets, as an expired TTL does; nobody asked for that, so the job runs again.
    const done = await ended(edge, job.id);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ status: 'lost' }, { status: 'succeeded' }] });
  });

  test('before a worker took it: a new attempt is made, and the job succeeds', async ({ expect }) => {
    const { edge } = platform;
    const blocker = await edge.jobs.submit({ workflow: slowGraph(60) });
    await until(edge, blocker.id, executing);
    const mark = platform.runpod.events.last;
    const job = await edge.jobs.submit({ workflow: quickGraph });
    const queued = await platform.happened({ type: 'job_queued', after: mark });
    await platform.admin(`/endpoints/local/jobs/${'job' in queued ? queued.job : ''}/forget`, {});
    await until(edge, job.id, (event) => event.event === 'status' && event.data.attempt === 2);
    await edge.jobs.cancel(blocker.id);
    expect(await ended(edge, job.id)).toMatchObject({
      status: 'succeeded',
      attempts: [{ status: 'lost' }, { status: 'succeeded' }],
    });
  });
});

describe("RunPod's /run", () => {
  test('that took the job and never answered: one run, one claim, no second attempt', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'after' });
    const done = await run(expect);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ number: 1, status: 'succeeded' }] });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });

  test('that answers 429, then takes it: same attempt, a little later', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'answer', operation: 'run', status: 429, times: 2 });
    expect(await run(expect)).toMatchObject({ status: 'succeeded', attempts: [{ number: 1 }] });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });

  test('that was cut before it took the job: a new attempt after the grace', async ({ expect }) => {
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'before' });
    expect(await run(expect)).toMatchObject({
      status: 'succeeded',
      attempts: [{ status: 'superseded' }, { status: 'succeeded' }],
    });
  });
});
