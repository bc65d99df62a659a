import { describe, test } from 'vitest';
import { eventsOf, executing, finals, slowGraph, until } from '../platform.ts';
import { platform } from './stack.ts';

/** Resolves with the time at which ComfyUI is idle. */
async function comfyuiIdle(): Promise<number> {
  for (;;) {
    const response = await fetch(`${platform.comfyui}/queue`);
    const { queue_running, queue_pending } = (await response.json()) as {
      queue_running: unknown[];
      queue_pending: unknown[];
    };
    if (queue_running.length + queue_pending.length === 0) {
      return performance.now();
    }
  }
}

describe('canceling a running job', () => {
  test('stops ComfyUI within a second and ends the job once', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(60) });
    await until(edge, job.id, executing);

    const asked = performance.now();
    const answer = await edge.jobs.cancel(job.id);
    expect(['canceling', 'canceled']).toContain(answer.status);
    expect((await comfyuiIdle()) - asked).toBeLessThan(1_000);

    const events = await eventsOf(edge, job.id);
    expect(await edge.jobs.get(job.id)).toMatchObject({
      status: 'canceled',
      error: null,
      attempts: [{ status: 'canceled' }],
    });
    expect(finals(events)).toHaveLength(1);
    expect((await edge.jobs.cancel(job.id)).status).toBe('canceled');
  });

  test('leaves the worker ready for the next job', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: slowGraph(1) });
    await eventsOf(edge, job.id);
    expect((await edge.jobs.get(job.id)).status).toBe('succeeded');
  });
});

describe('canceling a queued job', () => {
  test('ends it immediately and starts no worker for it', async ({ expect }) => {
    const { edge } = platform;
    const running = await edge.jobs.submit({ workflow: slowGraph(60) });
    await until(edge, running.id, executing);
    const mark = platform.runpod.events.last;

    const waiting = await edge.jobs.submit({ workflow: slowGraph(60) });
    const queued = await platform.happened({ type: 'job_queued', after: mark });
    expect(await edge.jobs.cancel(waiting.id)).toMatchObject({ status: 'canceled' });
    const finished = await platform.happened({ type: 'job_finished', after: mark });
    expect(finished).toMatchObject({ job: 'job' in queued ? queued.job : '', status: 'CANCELLED', worker: null });
    expect(platform.runpod.events.find({ type: 'job_taken', after: mark })).toEqual([]);
    expect(platform.runpod.events.find({ type: 'worker_started', after: mark })).toEqual([]);

    await edge.jobs.cancel(running.id);
    await eventsOf(edge, running.id);
    expect((await edge.jobs.get(waiting.id)).attempts).toMatchObject([{ claimed_at: null, worker: null }]);
  });
});
