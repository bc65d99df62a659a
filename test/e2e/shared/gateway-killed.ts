import { describe, test } from 'vitest';
import { eventsOf, executing, finals, numbers, slowGraph, until, upTo } from '../platform.ts';
import { platform } from './stack.ts';

/**
 * Guards recovery: the log of a job and its state are written together, so a crash between any two writes loses no event
 * and runs no job twice. `deploys.test.ts` kills the gateway at many moments; here each moment is chosen.
 */
describe('kill -9 of the gateway', () => {
  test('during a job: the job succeeds, and its watcher gets every event once and in order', async ({ expect }) => {
    const { edge, gateway } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(6) });
    const watching = eventsOf(edge, job.id);
    await until(edge, job.id, executing);

    await gateway.kill9();
    await expect(edge.jobs.get(job.id)).rejects.toThrow();
    expect(await gateway.restart()).toMatchObject({ ok: true });

    const seen = await watching;
    const done = await edge.jobs.get(job.id);
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ number: 1, status: 'succeeded' }] });
    expect(numbers(seen)).toEqual(upTo(done.last_event));
    expect(finals(seen)).toHaveLength(1);
    // The watcher has seen the whole log across the crash.
    expect(numbers(await eventsOf(edge, job.id))).toEqual(numbers(seen));
  });

  test('right after a submit: the accepted job still runs', async ({ expect }) => {
    const { edge, gateway } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(1) });
    await gateway.kill9();
    expect(await gateway.restart()).toMatchObject({ ok: true });
    await eventsOf(edge, job.id);
    expect(await edge.jobs.get(job.id)).toMatchObject({ status: 'succeeded' });
  });
});
