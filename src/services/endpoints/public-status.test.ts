import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { testBindings } from '../../../test/gateway-bindings.ts';
import { requireConfig } from '../../config/schema.ts';
import { anyone } from '../../testing/gateway.ts';
import { fakeRunpod, frozenClock, runpodHealth } from '../../testing/job.ts';
import type { ServiceContext } from '../context.ts';
import { publicStatus } from './public-status.ts';

let tests = 0;

/**
 * Makes two endpoints of this test alone, the first of them listed, at a time when earlier cached states have expired.
 */
function harness() {
  tests += 1;
  const [listed, hidden] = [`frail-${tests}`, `leaning-${tests}`];
  const endpoints = { [listed]: { runpod_id: 'a', listed: true }, [hidden]: { runpod_id: 'b' } };
  const config = requireConfig({ ...env, ...testBindings, ENDPOINTS: JSON.stringify(endpoints) });
  const context: ServiceContext = { env, config, clock: () => Date.now(), newId: () => 'id', newSeed: () => 1 };
  const runpod = fakeRunpod();
  const clock = frozenClock();
  clock.pass(tests * 60_000);
  return { context, listed, hidden, runpod, clock };
}

describe('the public status', () => {
  it('contains the overall state, the queue depth and the listed endpoints', async () => {
    const { context, listed, runpod } = harness();
    runpod.answer.health = () => runpodHealth({ idle: 1 }, 2);
    expect(await publicStatus(context)).toEqual({
      status: 'ok',
      queue_depth: 4,
      endpoints: [{ name: listed, status: 'ok' }],
    });
  });

  it('calls the Endpoint objects once in FRESH_MS for any number of requests', async () => {
    const { context, runpod, clock } = harness();
    await publicStatus(context);
    for (let calls = 0; calls < 20; calls += 1) {
      clock.pass(400);
      await publicStatus(context);
    }
    expect(runpod.count('health')).toBe(2);
  });

  it('does not name an unlisted endpoint whose breaker is open', async () => {
    const { context, listed, hidden, clock } = harness();
    await publicStatus(context);
    for (const job of ['x', 'y', 'z']) {
      await env.ENDPOINT.getByName(hidden).reportOutcome(job, 'failed', null);
    }
    clock.pass(10_000);
    expect(await publicStatus(context)).toMatchObject({
      status: 'degraded',
      endpoints: [{ name: listed, status: 'ok' }],
    });
  });

  it('reports an unknown queue depth when RunPod does not answer', async () => {
    const { context, runpod } = harness();
    runpod.answer.health = () => new Response('', { status: 500 });
    expect(await publicStatus(context)).toMatchObject({ status: 'degraded', queue_depth: null });
  });

  it('is served at /status without a key', async () => {
    fakeRunpod();
    const answer = await anyone('/status');
    expect(answer.status).toBe(200);
    const text = await answer.text();
    expect(JSON.parse(text)).toMatchObject({ endpoints: expect.any(Array) });
    expect(text).not.toContain('runpod');
  });
});
