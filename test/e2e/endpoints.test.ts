import { afterAll, beforeAll, beforeEach, describe, test } from 'vitest';
import { z } from 'zod';
import { type Platform, WAIT_LIMIT_MS, ended, eventsOf, quickGraph, slowGraph, startPlatform } from './platform.ts';

/**
 * Endpoints that fail. Only `default` has a worker. `stormy` and `lonely` exist at RunPod, but their workers never start;
 * `empty` has a maximum of no workers; RunPod does not know `gone`.
 */
const breaker = { failures: 3, window: 60, pause: 2, no_workers_after: 3_600 };
const absent = (id: string) => ({ id, workers: { min: 0, max: 1 } });

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform({
    endpoints: {
      stormy: {
        gateway: { runpod_id: 'stormy', environment: 'any', fallback: 'default', breaker },
        runpod: absent('stormy'),
      },
      lonely: { gateway: { runpod_id: 'lonely', environment: 'any', breaker }, runpod: absent('lonely') },
      empty: {
        gateway: {
          runpod_id: 'empty',
          environment: 'any',
          fallback: 'default',
          breaker: { ...breaker, no_workers_after: 1 },
        },
        runpod: { id: 'empty', workers: { min: 0, max: 0 } },
      },
      gone: { gateway: { runpod_id: 'gone', environment: 'any', fallback: 'default', breaker } },
    },
  });
  await platform.happened({ type: 'worker_ready' });
});
afterAll(() => platform.stop());
beforeEach(async () => {
  await fetch(`${platform.runpodAdmin}/faults`, { method: 'DELETE' });
});

const ask = async (path: string, key = platform.key): Promise<Response> =>
  fetch(`${platform.url}${path}`, { headers: { authorization: `Bearer ${key}` } });

const endpointShape = z.object({
  breaker: z.object({ state: z.string(), cause: z.string().nullable() }),
  workers: z.record(z.string(), z.number()).nullable(),
  queue: z.object({ held: z.number() }),
});
const endpoint = async (name: string) => endpointShape.parse(await (await ask(`/v1/endpoints/${name}`)).json());

/** Polls the endpoint until it matches, for at most `PATIENCE_MS`. */
async function until(name: string, fits: (seen: z.infer<typeof endpointShape>) => boolean): Promise<void> {
  const giveUp = AbortSignal.timeout(WAIT_LIMIT_MS);
  while (!fits(await endpoint(name))) {
    giveUp.throwIfAborted();
  }
}

const queuedAt = (name: string, after: number) =>
  platform.runpod.events.find({ type: 'job_queued', endpoint: name, after });

describe('an endpoint that answers 429', () => {
  test('opens its circuit breaker, its jobs use the fallback, and a probe closes the breaker again', async ({
    expect,
  }) => {
    const { edge } = platform;
    await platform.admin('/faults', {
      kind: 'answer',
      operation: 'run',
      status: 429,
      times: 1_000,
      endpoint: 'stormy',
    });
    const [first, second] = await Promise.all([
      edge.jobs.submit({ workflow: quickGraph, endpoint: 'stormy' }),
      edge.jobs.submit({ workflow: quickGraph, endpoint: 'stormy' }),
    ]);
    for (const job of [await ended(edge, first.id), await ended(edge, second.id)]) {
      expect(job).toMatchObject({
        status: 'succeeded',
        endpoint: 'stormy',
        attempts: [{ number: 1, endpoint: 'default', status: 'succeeded' }],
      });
    }
    // The pause continues: the next job goes to the fallback without a try.
    const mark = platform.runpod.events.last;
    expect(await ended(edge, (await edge.jobs.submit({ workflow: quickGraph, endpoint: 'stormy' })).id)).toMatchObject({
      status: 'succeeded',
      attempts: [{ endpoint: 'default' }],
    });
    expect(queuedAt('stormy', mark)).toEqual([]);

    await fetch(`${platform.runpodAdmin}/faults`, { method: 'DELETE' });
    await until('stormy', ({ breaker: { state } }) => state === 'half_open');
    const probe = await edge.jobs.submit({ workflow: quickGraph, endpoint: 'stormy' });
    const queued = await platform.runpod.events.wait(
      { type: 'job_queued', endpoint: 'stormy', after: mark },
      WAIT_LIMIT_MS,
    );
    expect(queued).toHaveLength(1);
    await until('stormy', ({ breaker: { state } }) => state === 'closed');
    await edge.jobs.cancel(probe.id);
    expect(await ended(edge, probe.id)).toMatchObject({ status: 'canceled', attempts: [{ endpoint: 'stormy' }] });
  });
});

describe('an endpoint that recovers', () => {
  test('gets one probe, and the other jobs only after the probe was accepted', async ({ expect }) => {
    const { edge } = platform;
    await platform.admin('/faults', {
      kind: 'answer',
      operation: 'run',
      status: 500,
      times: 1_000,
      endpoint: 'lonely',
    });
    // A run without an answer is waited for; later jobs find the breaker open.
    const lost = await Promise.all([1, 2, 3].map(() => edge.jobs.submit({ workflow: quickGraph, endpoint: 'lonely' })));
    await until('lonely', ({ breaker: { state } }) => state === 'open');
    await Promise.all(lost.map(({ id }) => edge.jobs.cancel(id)));
    const held = await Promise.all(
      [1, 2, 3, 4].map(() => edge.jobs.submit({ workflow: quickGraph, endpoint: 'lonely' })),
    );
    await until('lonely', ({ queue }) => queue.held >= 4);
    await fetch(`${platform.runpodAdmin}/faults`, { method: 'DELETE' });
    const mark = platform.runpod.events.last;
    const slow_ms = 1_500;
    await platform.admin('/faults', { kind: 'hang', operation: 'run', hang_ms: slow_ms, endpoint: 'lonely' });
    const giveUp = AbortSignal.timeout(WAIT_LIMIT_MS);
    while (queuedAt('lonely', mark).length < 4) {
      giveUp.throwIfAborted();
      await platform.runpod.events.wait({ type: 'job_queued', after: platform.runpod.events.last }, 1_000);
    }
    const [probe, next] = queuedAt('lonely', mark);
    expect((next?.at ?? 0) - (probe?.at ?? 0)).toBeGreaterThanOrEqual(slow_ms);
    expect(await endpoint('lonely')).toMatchObject({ breaker: { state: 'closed', cause: null } });
    await Promise.all(held.map(({ id }) => edge.jobs.cancel(id)));
  });
});

describe('an endpoint that RunPod does not know', () => {
  test('sends the job to the fallback in the same attempt after the first refusal', async ({ expect }) => {
    const { edge } = platform;
    const job = await ended(edge, (await edge.jobs.submit({ workflow: quickGraph, endpoint: 'gone' })).id);
    expect(job).toMatchObject({ status: 'succeeded', attempts: [{ number: 1, endpoint: 'default' }] });
    expect(await endpoint('gone')).toMatchObject({ breaker: { cause: 'refused' }, workers: null });
  });
});

describe('an endpoint without workers', () => {
  test('cancels its run and sends the job to the fallback', async ({ expect }) => {
    const { edge } = platform;
    const mark = platform.runpod.events.last;
    const job = await edge.jobs.submit({ workflow: slowGraph(1), endpoint: 'empty' });
    const events = await eventsOf(edge, job.id);
    expect(await edge.jobs.get(job.id)).toMatchObject({
      status: 'succeeded',
      attempts: [
        { endpoint: 'empty', status: 'superseded', error: { code: 'no_capacity' } },
        { endpoint: 'default', status: 'succeeded' },
      ],
    });
    const finals = events.filter((event) => event.event === 'status' && event.data.status === 'succeeded');
    expect(finals).toHaveLength(1);
    const [over] = await platform.runpod.events.wait(
      { type: 'job_finished', endpoint: 'empty', after: mark },
      WAIT_LIMIT_MS,
    );
    expect(over).toMatchObject({ status: 'CANCELLED' });
    expect(await endpoint('empty')).toMatchObject({ breaker: { cause: 'no_workers' } });
  });
});

describe('the debug report of a worker', () => {
  test('reaches the operator through RunPod without a secret', async ({ expect }) => {
    const answer = await ask('/v1/endpoints/default/debug', platform.adminToken);
    const text = await answer.text();
    expect(answer.status, text).toBe(200);
    expect(z.record(z.string(), z.unknown()).parse(JSON.parse(text))).toMatchObject({
      status: 'ok',
      versions: { worker: expect.any(String) },
      comfyui: { answers: true },
      environment_names: expect.arrayContaining(['GATEWAY_ORIGIN']),
    });
    expect(text).not.toContain(platform.adminToken);
    expect(JSON.parse(text)).not.toHaveProperty('catalog');
    const health = await ask('/v1/endpoints/default/debug?action=health', platform.adminToken);
    expect(await health.json()).toMatchObject({ status: 'ok', busy: false });
  });

  test('ends with no_worker_report when no worker answers in time, and its run is canceled', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    const answer = await ask('/v1/endpoints/lonely/debug?wait=2', platform.adminToken);
    expect(answer.status).toBe(504);
    expect(await answer.json()).toMatchObject({ code: 'no_worker_report' });
    const [over] = await platform.runpod.events.wait(
      { type: 'job_finished', endpoint: 'lonely', after: mark },
      WAIT_LIMIT_MS,
    );
    expect(over).toMatchObject({ status: 'CANCELLED' });
  });
});
