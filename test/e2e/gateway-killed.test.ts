import { afterAll, beforeAll, describe, test } from 'vitest';
import {
  type Platform,
  eventsOf,
  executing,
  finals,
  numbers,
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

describe('kill -9 of the gateway in the middle of a job', () => {
  test('the job still succeeds, and a watcher that comes back has every event once, in order, without a gap', async ({
    expect,
  }) => {
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
    // What was seen across the crash is what the log says.
    expect(numbers(await eventsOf(edge, job.id))).toEqual(numbers(seen));
  });

  test('a job that was accepted just before still runs', async ({ expect }) => {
    const { edge, gateway } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(1) });
    await gateway.kill9();
    expect(await gateway.restart()).toMatchObject({ ok: true });
    await eventsOf(edge, job.id);
    expect(await edge.jobs.get(job.id)).toMatchObject({ status: 'succeeded' });
  });
});
