import { type ExpectStatic, describe, test } from 'vitest';
import { ended, eventsOf, executing, finals, numbers, quickGraph, slowGraph, until, upTo } from '../platform.ts';
import { platform } from './stack.ts';

/**
 * Guards reconciliation with RunPod: an unknown outcome of `/run` is resolved, never repeated blindly, and a lost, late or
 * repeated webhook changes nothing.
 */

/** Runs one job to its end under the faults set before, and checks what holds for every job. */
async function run(expect: ExpectStatic) {
  const { edge } = platform;
  const job = await edge.jobs.submit({ workflow: quickGraph });
  const events = await eventsOf(edge, job.id);
  const done = await edge.jobs.get(job.id);
  expect(finals(events)).toHaveLength(1);
  expect(numbers(events)).toEqual(upTo(done.last_event));
  return done;
}

describe('a webhook of RunPod', () => {
  test.for([
    ['lost', { kind: 'webhook', action: 'lose' }, 'webhook_lost'],
    ['sent five times', { kind: 'webhook', action: 'repeat', copies: 5 }, 'webhook_sent'],
    ['late', { kind: 'webhook', action: 'delay', delay_ms: 1_500 }, 'webhook_sent'],
  ] as const)('does not change the end of the job when it is %s', async ([, fault, met], { expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', fault);
    const done = await run(expect);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ status: 'succeeded' }] });
    await platform.happened({ type: met, after: mark });
    expect(await platform.edge.jobs.get(done.id)).toEqual(done);
  });
});

describe('a run that RunPod no longer knows', () => {
  test('is run again when a worker had it', async ({ expect }) => {
    const { edge } = platform;
    const mark = platform.runpod.events.last;
    const job = await edge.jobs.submit({ workflow: slowGraph(3) });
    await until(edge, job.id, executing);
    const queued = await platform.happened({ type: 'job_queued', after: mark });
    await platform.admin(`/endpoints/local/jobs/${'job' in queued ? queued.job : ''}/forget`, {});
    // The local RunPod stops a run that it forgets, as an expired TTL does.
    const done = await ended(edge, job.id);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ status: 'lost' }, { status: 'succeeded' }] });
  });

  test('gets a new attempt when no worker had it', async ({ expect }) => {
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

describe('a call of /run', () => {
  test('makes one run and one attempt when its answer is lost', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'after' });
    const done = await run(expect);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ number: 1, status: 'succeeded' }] });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });

  test('is repeated in the same attempt after a 429', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'answer', operation: 'run', status: 429, times: 2 });
    expect(await run(expect)).toMatchObject({ status: 'succeeded', attempts: [{ number: 1 }] });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });

  test('leads to a new attempt after the claim grace when it never reached RunPod', async ({ expect }) => {
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'before' });
    expect(await run(expect)).toMatchObject({
      status: 'succeeded',
      attempts: [{ status: 'superseded' }, { status: 'succeeded' }],
    });
  });
});
