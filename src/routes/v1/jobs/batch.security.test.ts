import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { batchOf, outcomes, acceptedJobs } from '../../../testing/batch.ts';
import { answerRunpod, GRAPH, newClient } from '../../../testing/gateway.ts';
import { madeKey } from '../../../testing/keys.ts';
import { jobPageSchema } from '../schemas.ts';

/** How exact the limits are under more calls is proved in `durable-objects/account/object.test.ts`. */
const BATCHES = 20;
const JOBS = 2;
const batches = Array.from({ length: BATCHES });
const jobs = Array.from({ length: JOBS }, () => ({ workflow: GRAPH }));
const countOf = (all: (string | number)[], what: string | number): number => all.filter((each) => each === what).length;

/** Submits are counted by the minute: it must not end in the middle of a test. */
function inOneMinute(): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 60_000) * 60_000 + 1_000 });
  onTestFinished(() => void vi.useRealTimers());
}

describe('concurrent batches', () => {
  it('admit exactly the jobs that have a slot or fit into the queue', async () => {
    answerRunpod();
    inOneMinute();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 6, max_queued: 14, submits_per_minute: 1_000 });
    const all = (await Promise.all(batches.map(() => batchOf(call, jobs)))).flatMap(outcomes);
    expect(countOf(all, 201)).toBe(20);
    expect(countOf(all, 'queue_full')).toBe(BATCHES * JOBS - 20);
    expect(await env.ACCOUNT.getByName(account).quota()).toMatchObject([
      { name: 'submits', remaining: 980 },
      { name: 'jobs', remaining: 0 },
      { name: 'queued', remaining: 0 },
    ]);
  });

  it('admit exactly `submits_per_minute` jobs', async () => {
    answerRunpod();
    inOneMinute();
    const { account, call } = await newClient();
    const limits = { jobs_in_flight: 1_000, submits_per_minute: 23 };
    await env.ACCOUNT.getByName(account).setLimits(limits);
    const all = (await Promise.all(batches.map(() => batchOf(call, jobs)))).flatMap(outcomes);
    expect(countOf(all, 201)).toBe(23);
    expect(countOf(all, 'rate_limited')).toBe(BATCHES * JOBS - 23);
  });

  it('make each job once when they have the same keys', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 1_000, submits_per_minute: 1_000 });
    const keyed = jobs.map((job, at) => ({ ...job, idempotency_key: `k${at}` }));
    const all = (await Promise.all(batches.map(() => batchOf(call, keyed)))).flat();
    expect(new Set(acceptedJobs(all).map(({ id }) => id)).size).toBe(JOBS);
    expect(countOf(outcomes(all), 201) + countOf(outcomes(all), 'idempotency_in_flight')).toBe(BATCHES * JOBS);
    await vi.waitFor(async () => {
      const { data } = jobPageSchema.parse(await (await call('/v1/jobs?limit=100')).json());
      expect(data).toHaveLength(JOBS);
    });
  });
});

describe('a batch', () => {
  it('does not share keys with another account', async () => {
    answerRunpod();
    const [mine, theirs] = await Promise.all([newClient(), newClient()]);
    const headers = { 'idempotency-key': 'shared' };
    const body = [{ workflow: GRAPH, idempotency_key: 'k', metadata: { secret: 'mine' } }, { workflow: GRAPH }];
    const first = await batchOf(mine.call, body, headers);
    const [same, other] = [await batchOf(theirs.call, body, headers), [{ workflow: GRAPH, idempotency_key: 'k' }]];
    expect(same.map((each) => 'job' in each && each.replayed)).toEqual([false, false]);
    const ids = new Set([...acceptedJobs(first), ...acceptedJobs(same)].map(({ id }) => id));
    expect(ids.size).toBe(4);
    const third = await newClient();
    expect(outcomes(await batchOf(third.call, other, headers))).toEqual([201]);
  });

  it('treats the same key of a single submit as another request', async () => {
    answerRunpod();
    const { call } = await newClient();
    const single = await call('/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'k' },
      body: JSON.stringify({ workflow: GRAPH }),
    });
    expect(single.status).toBe(201);
    const items = await batchOf(call, [{ workflow: GRAPH, idempotency_key: 'k' }]);
    expect(outcomes(items)).toEqual(['idempotency_key_reuse']);
  });

  it('checks the permissions of the key for each job', async () => {
    answerRunpod();
    const { account } = await newClient();
    const bound = await madeKey(account, { nodes: { deny: ['SaveImage'] } });
    const allowed = { '1': { class_type: 'EmptyImage', inputs: {} } };
    const items = await batchOf(bound.call, [{ workflow: GRAPH }, { workflow: allowed }]);
    expect(outcomes(items)).toEqual(['node_not_allowed', 201]);
  });
});
