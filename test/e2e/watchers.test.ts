import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { type LoneGateway, runningJob, startLoneGateway } from '../lone/gateway.ts';
import { Watcher } from '../lone/watcher.ts';

/** `max_watchers` of this gateway. */
const WATCHERS = 1_000;
/** Connections opened at the same time. */
const AT_ONCE = 50;
/** The gateway notices a closed connection by its keep-alives (docs/reference/events.md). The rest is for a busy machine. */
const NOTICED_MS = 15_000 + 10_000;
/** A thousand connections are slow while other tests run. */
const WAIT_LIMIT_MS = 180_000;

let gateway: LoneGateway;
beforeAll(async () => {
  gateway = await startLoneGateway({ max_watchers: WATCHERS });
});
afterAll(() => gateway.stop());

const connect = (job: string, after: number | null): Promise<Watcher> =>
  Watcher.open(`${gateway.url}/v1/jobs/${job}/events`, {
    authorization: `Bearer ${gateway.key}`,
    ...(after === null ? {} : { 'last-event-id': String(after) }),
  });

async function crowd(job: string, after: number | null, count: number): Promise<Watcher[]> {
  const watchers: Watcher[] = [];
  while (watchers.length < count) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - watchers.length) }, () => connect(job, after));
    watchers.push(...(await Promise.all(some)));
  }
  return watchers;
}

const line = (message: string) => ({ type: 'log', level: 'info', message });

describe('WATCHERS watchers of one job', { timeout: WAIT_LIMIT_MS }, () => {
  test('all receive the same complete log without delaying the worker', async ({ expect }) => {
    const job = await runningJob(gateway);
    const early = await crowd(job.id, 0, WATCHERS / 2);
    const stored: number[] = [];
    for (let count = 1; count <= 5; count += 1) {
      const said = performance.now();
      await job.say(line(`${count}`));
      stored.push(performance.now() - said);
    }
    const late = await crowd(job.id, 0, WATCHERS / 2);
    for (let count = 6; count <= 10; count += 1) {
      const said = performance.now();
      await job.say(line(`${count}`));
      stored.push(performance.now() - said);
    }
    await job.complete();
    const watchers = [...early, ...late];
    await Promise.all(watchers.map((watcher) => watcher.ended));

    const [first] = watchers;
    const log = first?.seen.map(({ id, event, data }) => ({ id, event, data })) ?? [];
    expect(log.map((event) => event.id)).toEqual(log.map((_, index) => index + 1));
    expect(log.filter((event) => event.event === 'log')).toHaveLength(10);
    expect(JSON.parse(log.at(-1)?.data ?? '')).toMatchObject({ status: 'succeeded' });
    const others = new Set(
      watchers.map((watcher) => JSON.stringify(watcher.seen.map(({ id, event, data }) => ({ id, event, data })))),
    );
    expect(others).toEqual(new Set([JSON.stringify(log)]));
    // A worker gives a silent gateway 20 s (docs/reference/worker-contract.md); a tenth of one leaves room for a busy machine.
    expect(Math.max(...stored)).toBeLessThan(2_000);
  });

  test('one more gets 429 with a URL to poll, and a cut watcher gets a retry time', async ({ expect }) => {
    const job = await runningJob(gateway);
    const watchers = await crowd(job.id, null, WATCHERS);
    expect(new Set(watchers.map((watcher) => watcher.status))).toEqual(new Set([200]));

    const refused = await fetch(`${gateway.url}/v1/jobs/${job.id}/events`, {
      headers: { authorization: `Bearer ${gateway.key}` },
    });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const { code, poll } = z.object({ code: z.string(), poll: z.url() }).parse(await refused.json());
    expect(code).toBe('too_many_watchers');
    const polled = await fetch(poll.replace('wait=60', 'wait=0'), {
      headers: { authorization: `Bearer ${gateway.key}` },
    });
    expect(await polled.json()).toMatchObject({ id: job.id, status: 'running' });

    const again = await fetch(`${gateway.url}/v1/jobs/${job.id}/events`, {
      headers: { authorization: `Bearer ${gateway.key}`, 'last-event-id': '1' },
    });
    expect(again.status).toBe(200);
    expect(again.headers.get('content-type')).toBe('text/event-stream');
    expect(await again.text()).toMatch(/^retry: \d{4,5}\n\n$/);

    // No event is sent: only the keep-alives detect the closed connections.
    const left = performance.now();
    watchers.slice(0, 10).forEach((watcher) => watcher.leave());
    let admitted: Watcher | null = null;
    while (admitted === null) {
      const tried = await connect(job.id, null);
      if (tried.status === 200) {
        admitted = tried;
      } else {
        tried.leave();
      }
      expect(performance.now() - left).toBeLessThan(NOTICED_MS);
    }
    await job.say(line('still here'));
    await Promise.all(
      [admitted, ...watchers.slice(10)].map((watcher) => watcher.until(() => watcher.seen.length >= 2)),
    );
    await job.complete();
  });
});
