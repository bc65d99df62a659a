import { afterAll, beforeAll, describe, test } from 'vitest';
import { ConnectionError, type JobEvent, isFinal } from '../../clients/sdk/index.ts';
import {
  WAIT_LIMIT_MS,
  type Platform,
  QUICK_POLICY,
  finals,
  numbers,
  quickGraph,
  slowGraph,
  startPlatform,
  upTo,
} from './platform.ts';

/** Guards recovery: the gateway is killed and restarted several times under load. */

const KILLS = 5;
const CLIENTS = 3;
/** Events between two kills: enough for every client to be at another point of a job. */
const EVENTS_BETWEEN = 30;
/** Longest time for all jobs to finish. It only bounds a failure. */
const REST_MS = 90_000;

let platform: Platform;
beforeAll(async () => {
  // Time for a worker to reconnect: the gateway needs some seconds to start on a busy machine.
  platform = await startPlatform({
    policy: { ...QUICK_POLICY, channel_grace: 30, cancel_grace: 15 },
  });
});
afterAll(() => platform.stop());

/** What one client received of one job. */
type Seen = { id: string; canceled: boolean; events: JobEvent[] };

/** Repeats a call until the gateway answers it. */
async function persistently<T>(call: () => Promise<T>): Promise<T> {
  const giveUp = performance.now() + WAIT_LIMIT_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isLost(error) || performance.now() > giveUp) {
        throw error;
      }
    }
  }
}

/** `fetch` throws a TypeError without a listener; wrangler answers 5xx without a problem while it starts or ends. */
const isLost = (error: unknown): boolean =>
  error instanceof ConnectionError || error instanceof TypeError || error instanceof Unavailable;

class Unavailable extends Error {}

/** Submits with an idempotency key, as often as it takes to have an answer. */
async function submit(key: string, workflow: object): Promise<string> {
  return persistently(async () => {
    const response = await platform.fetch(`${platform.url}/v1/jobs`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${platform.key}`,
        'content-type': 'application/json',
        'idempotency-key': key,
      },
      body: JSON.stringify({ workflow }),
    });
    if (response.status === 409 || response.status >= 500) {
      throw new Unavailable(await response.text());
    }
    const body = (await response.json()) as { id: string };
    if (response.status !== 201) {
      throw new Error(`a submit was refused: ${JSON.stringify(body)}`);
    }
    return body.id;
  });
}

/** Counts the events of all clients, and resolves waits for more of them. */
class Bell {
  private rung = 0;
  private waiting: { at: number; wake: () => void }[] = [];

  ring(): void {
    this.rung += 1;
    for (const { wake } of this.waiting.filter(({ at }) => this.rung >= at)) {
      wake();
    }
    this.waiting = this.waiting.filter(({ at }) => this.rung < at);
  }

  /** Resolves after `count` more events. */
  after(count: number): Promise<void> {
    return new Promise((wake) => this.waiting.push({ at: this.rung + count, wake }));
  }
}

describe('restarts of the gateway under load', () => {
  test(
    'end every job once, without a gap in a stream, and count every job once',
    { timeout: 300_000 },
    async ({ expect }) => {
      const { edge, gateway } = platform;
      const bell = new Bell();
      const seen: Seen[] = [];
      const load = { goesOn: true };

      /** One client: submits, watches, cancels every third job once it runs, and starts again. */
      const client = async (name: number): Promise<void> => {
        for (let n = 0; load.goesOn; n += 1) {
          const cancels = n % 3 === 2;
          const id = await submit(`client-${name}-job-${n}`, n % 3 === 0 ? quickGraph : slowGraph(3, 15));
          const job: Seen = { id, canceled: cancels, events: [] };
          seen.push(job);
          let asked = false;
          for await (const event of edge.jobs.watch(id, { after: 0, signal: AbortSignal.timeout(REST_MS) })) {
            job.events.push(event);
            bell.ring();
            if (cancels && !asked && event.event === 'progress') {
              asked = true;
              await persistently(() => edge.jobs.cancel(id));
            }
          }
        }
      };
      const clients = Array.from({ length: CLIENTS }, (_, name) => client(name));

      const ups: unknown[] = [];
      for (let kill = 0; kill < KILLS; kill += 1) {
        await Promise.race([bell.after(EVENTS_BETWEEN), Promise.all(clients)]);
        await gateway.kill9();
        ups.push(await gateway.restart());
      }
      load.goesOn = false;
      await Promise.all(clients);
      expect(ups).toEqual(Array.from({ length: KILLS }, () => expect.objectContaining({ ok: true })));

      // Every Idempotency-Key has one job, and no other jobs exist.
      const listed: string[] = [];
      for (let cursor: string | undefined; ;) {
        const page = await edge.jobs.list({ limit: 100, ...(cursor === undefined ? {} : { cursor }) });
        listed.push(...page.data.map(({ id }) => id));
        if (page.next_cursor === null) {
          break;
        }
        cursor = page.next_cursor;
      }
      expect(listed.toSorted()).toEqual(seen.map(({ id }) => id).toSorted());

      const jobs = await Promise.all(seen.map(({ id }) => edge.jobs.get(id)));
      // A cancel may come after the end, when it changes nothing.
      const wrong = jobs.filter(({ status }, index) =>
        seen[index]?.canceled === true ? !['succeeded', 'canceled'].includes(status) : status !== 'succeeded',
      );
      expect(wrong.map(({ status, error, attempts }) => ({ status, error, attempts }))).toEqual([]);
      for (const [index, { events }] of seen.entries()) {
        expect(finals(events)).toHaveLength(1);
        expect(numbers(events)).toEqual(upTo(jobs[index]?.last_event ?? 0));
      }

      // Counted once each, at what each says it used, and no place is held any more.
      const billed = (await Promise.all(seen.map(({ id }) => billedOf(id)))).reduce((sum, seconds) => sum + seconds, 0);
      await expect
        .poll(usage, { timeout: WAIT_LIMIT_MS })
        .toEqual({ jobs: jobs.length, billed: expect.closeTo(billed, 2) });
      await expect.poll(placesLeft, { timeout: WAIT_LIMIT_MS }).toBe('"jobs";r=20');
      expect(jobs.every((job) => isFinal(job.status))).toBe(true);
    },
  );
});

const get = (path: string): Promise<Response> =>
  platform.fetch(`${platform.url}${path}`, { headers: { authorization: `Bearer ${platform.key}` } });

async function billedOf(id: string): Promise<number> {
  const { usage: used } = (await (await get(`/v1/jobs/${id}`)).json()) as { usage: { billed_seconds: number } | null };
  return used?.billed_seconds ?? Number.NaN;
}

async function usage(): Promise<{ jobs: number; billed: number }> {
  const { data } = (await (await get('/v1/usage')).json()) as { data: { jobs: number; billed_seconds: number }[] };
  return {
    jobs: data.reduce((sum, line) => sum + line.jobs, 0),
    billed: data.reduce((sum, line) => sum + line.billed_seconds, 0),
  };
}

async function placesLeft(): Promise<string | undefined> {
  const response = await get('/v1/jobs?limit=1');
  return response.headers
    .get('ratelimit')
    ?.split(', ')
    .find((item) => item.startsWith('"jobs"'));
}
