import { describe, test } from 'vitest';
import { eventsOf, executing, finals, numbers, slowGraph, until, upTo } from '../platform.ts';
import { platform } from './stack.ts';

/** Guards fencing: a lost attempt is replaced once, and its late messages cannot end the job a second time. */

/** Kills the worker that runs the job, as soon as it executes. */
async function killDuring(job: string): Promise<void> {
  await until(platform.edge, job, executing);
  const { attempts } = await platform.edge.jobs.get(job);
  await platform.admin(`/endpoints/local/workers/${attempts.at(-1)?.worker}/kill`, {});
}

describe('kill -9 of the worker during a job', () => {
  test('runs the job again on a new worker, with one end', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(4) });
    await killDuring(job.id);
    const events = await eventsOf(edge, job.id);
    const done = await edge.jobs.get(job.id);
    expect(done).toMatchObject({
      status: 'succeeded',
      attempts: [
        { status: 'lost', error: { code: 'worker_lost', at: expect.stringMatching(/worker|provider/) } },
        { status: 'succeeded' },
      ],
    });
    expect(done.attempts[0]?.worker).not.toBe(done.attempts[1]?.worker);
    expect(finals(events)).toHaveLength(1);
    expect(numbers(events)).toEqual(upTo(done.last_event));
  });

  test('fails the job with worker_lost when the second worker is killed too', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(30), finish_within: 60 });
    await killDuring(job.id);
    await until(
      edge,
      job.id,
      (event) => event.event === 'status' && event.data.attempt === 2 && event.data.stage === 'executing',
    );
    await platform.admin(`/endpoints/local/workers/${(await edge.jobs.get(job.id)).attempts[1]?.worker}/kill`, {});
    const events = await eventsOf(edge, job.id);
    const done = await edge.jobs.get(job.id);
    expect(done).toMatchObject({ status: 'failed', error: { code: 'worker_lost', attempt: 2 } });
    expect(Date.parse(done.completed_at ?? '')).toBeLessThan(Date.parse(done.deadline));
    expect(finals(events)).toHaveLength(1);
  });
});
