import { evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config/schema.ts';
import type { Admission, AdmitRequest } from '../../contract/admission.ts';
import type { AccountLimits } from '../../contract/limits.ts';
import { frozenClock } from '../../testing/job.ts';
import { KEY_LIFE_MS, LEASE_MS } from './idempotency.ts';

const { jobs_in_flight, max_queued, submits_per_minute } = requireConfig(env).limits;
const HOUR_MS = 3_600_000;
const NOTHING = { gpu_ms: 0, micro_usd: 0 };
const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, at) => make(at));

const leaseOf = (admission: Admission): number | null => (admission.kind === 'admitted' ? admission.lease : null);

/** A new account, at the beginning of a window. */
function fresh() {
  const clock = frozenClock();
  clock.pass(60_000 - (Date.now() % 60_000));
  const account = `a${crypto.randomUUID()}`;
  const stub = env.ACCOUNT.getByName(account);
  return {
    clock,
    stub,
    object: env.ACCOUNT.getByName(account),
    admit: (job = crypto.randomUUID() as string, over: Partial<AdmitRequest> = {}) =>
      stub.admit({
        job,
        account,
        key: 'k1',
        inputs: [],
        retention: null,
        priority: 'normal',
        expires_at: Date.now() + HOUR_MS,
        reserve: { gpu_ms: 10_000, micro_usd: null },
        idempotency: null,
        ...over,
      }),
    release: (job: string, used = NOTHING) => stub.releaseSlot(job, used),
    /** Which of these have a place. */
    inside: async (jobs: string[]) => {
      const answers = await Promise.all(jobs.map((job) => stub.tryStart(job, Date.now() + HOUR_MS)));
      return jobs.filter((_, at) => answers[at] === true);
    },
    limit: (own: Partial<AccountLimits>) => stub.setLimits(own),
  };
}

describe('slots', () => {
  it('admit up to jobs_in_flight, queue up to max_queued and refuse the rest, also concurrently', async () => {
    const { admit, limit } = fresh();
    await limit({ jobs_in_flight: 20, max_queued: 30 });
    const answers = await Promise.all(times(100, () => admit()));
    const kinds = answers.map((answer) => (answer.kind === 'admitted' ? (answer.waits ? 'waits' : 'in') : answer.kind));
    expect(times(3, (at) => kinds.filter((kind) => kind === ['in', 'waits', 'refused'][at]).length)).toEqual([
      20, 30, 50,
    ]);
    expect(answers.at(-1)).toMatchObject({ kind: 'refused', code: 'queue_full', retry_after_s: 5 });
  });

  it('promote the next queued job when a slot is released, once', async () => {
    const { admit, release, limit, inside } = fresh();
    await limit({ jobs_in_flight: 1 });
    for (const job of ['a', 'b', 'c']) {
      await admit(job);
    }
    await release('a');
    await release('a');
    await release('nobody');
    expect(await inside(['b', 'c'])).toEqual(['b']);
  });

  it('go to the higher priority class first, then to the key with the fewest active jobs, then in order of arrival', async () => {
    const { admit, release, limit, inside } = fresh();
    await limit({ jobs_in_flight: 2 });
    await admit('long');
    await admit('first', { key: 'k1' });
    await admit('low', { priority: 'low', key: 'k3' });
    await admit('mine 1');
    await admit('mine 2');
    await admit('other', { key: 'k2' });
    await admit('high', { priority: 'high' });
    const order: string[] = [];
    let leaving = 'first';
    while (order.length < 5) {
      await release(leaving);
      const waiting = ['low', 'mine 1', 'mine 2', 'other', 'high'].filter((job) => !order.includes(job));
      [leaving = ''] = await inside(waiting);
      order.push(leaving);
    }
    expect(order).toEqual(['high', 'other', 'mine 1', 'mine 2', 'low']);
  });

  it('report the queue positions in which queued jobs are then promoted', async () => {
    const { admit, release, limit, inside, stub } = fresh();
    await limit({ jobs_in_flight: 1 });
    await admit('first', { key: 'k1' });
    const waiting = ['mine 1', 'mine 2', 'other', 'high', 'low'];
    const over: Record<string, Partial<AdmitRequest>> = {
      other: { key: 'k2' },
      high: { priority: 'high', key: 'k2' },
      low: { priority: 'low' },
    };
    for (const job of waiting) {
      expect(await admit(job, over[job])).toMatchObject({
        kind: 'admitted',
        waits: true,
        queue_position: expect.any(Number),
      });
    }
    const positions = await Promise.all(waiting.map((job) => stub.queuePosition(job)));
    const foreseen = waiting.toSorted(
      (a, b) => Number(positions[waiting.indexOf(a)]) - Number(positions[waiting.indexOf(b)]),
    );
    expect(positions.toSorted()).toEqual([1, 2, 3, 4, 5]);
    expect(await stub.queuePosition('first')).toBeNull();
    // Raising the limit frees slots one by one while the admitted jobs keep theirs.
    const order: string[] = [];
    for (let places_now = 2; places_now <= 6; places_now += 1) {
      await limit({ jobs_in_flight: places_now });
      order.push(...(await inside(waiting.filter((job) => !order.includes(job)))));
    }
    expect(order).toEqual(foreseen);
    await release('first');
  });

  it('count a repeated request of a job once, also in a full account', async () => {
    const { admit, limit } = fresh();
    await limit({ jobs_in_flight: 1, max_queued: 0 });
    await admit('a');
    expect(await admit('a')).toMatchObject({ kind: 'admitted', job: 'a', waits: false });
    expect(await admit('b')).toMatchObject({ kind: 'refused' });
  });

  it('are freed when a job expires without being released', async () => {
    const { admit, clock, limit } = fresh();
    await limit({ jobs_in_flight: 1, max_queued: 0 });
    await admit('a', { expires_at: Date.now() + 10_000 });
    clock.pass(9_999);
    expect(await admit('early')).toMatchObject({ code: 'queue_full' });
    clock.pass(1);
    expect(await admit('in time')).toMatchObject({ kind: 'admitted', waits: false });
  });

  it('survive hibernation', async () => {
    const { admit, object } = fresh();
    await Promise.all(times(jobs_in_flight, () => admit()));
    await evictDurableObject(object);
    expect(await admit()).toMatchObject({ kind: 'admitted', waits: true });
  });

  it('queue a job again that exists and is not in the account', async () => {
    const { admit, inside, limit, release } = fresh();
    await limit({ jobs_in_flight: 1, max_queued: 0 });
    await admit('a');
    expect(await inside(['lost'])).toEqual([]);
    await release('a');
    expect(await inside(['lost'])).toEqual(['lost']);
  });

  it('promote queued jobs when the limit is raised', async () => {
    const { admit, inside, limit } = fresh();
    await limit({ jobs_in_flight: 1 });
    await admit('a');
    await admit('b');
    await limit({ jobs_in_flight: 2 });
    expect(await inside(['b'])).toEqual(['b']);
  });
});

describe('submits of a minute', () => {
  it('are limited exactly with 100 concurrent requests, and each counts the remainder down', async () => {
    const { admit, limit } = fresh();
    await limit({ submits_per_minute: 60 });
    const answers = await Promise.all(times(100, () => admit()));
    const taken = answers.filter((answer) => answer.kind === 'admitted');
    expect(taken).toHaveLength(60);
    const left = taken.map(({ quota }) => quota.find(({ name }) => name === 'submits')?.remaining);
    expect(left.sort((a = 0, b = 0) => b - a)).toEqual(times(60, (at) => 59 - at));
  });

  it('are counted from zero in the next minute, and report when it begins', async () => {
    const { admit, release, clock } = fresh();
    for (let submits = 0; submits < submits_per_minute; submits += 1) {
      expect(await admit(`j${submits}`)).toMatchObject({ kind: 'admitted' });
      await release(`j${submits}`);
    }
    clock.pass(15_500);
    expect(await admit('over')).toMatchObject({ kind: 'refused', code: 'rate_limited', retry_after_s: 45 });
    clock.pass(44_499);
    expect(await admit('still over')).toMatchObject({ code: 'rate_limited', retry_after_s: 1 });
    clock.pass(1);
    expect(await admit('in time')).toMatchObject({ kind: 'admitted' });
  });

  it('do not count a refused submit', async () => {
    const { admit, release, limit } = fresh();
    await limit({ jobs_in_flight: 1, max_queued: 0, submits_per_minute: 2 });
    await admit('j0');
    await Promise.all(times(10, () => admit()));
    await release('j0');
    expect(await admit('new')).toMatchObject({ kind: 'admitted' });
  });

  it('keep no row of past minutes', async () => {
    const { admit, clock, object } = fresh();
    for (let minutes = 0; minutes < 5; minutes += 1) {
      await admit();
      clock.pass(60_000);
    }
    await admit();
    const rows = await runInDurableObject(object, (_account, state) =>
      state.storage.sql.exec('SELECT window_start FROM submits').toArray(),
    );
    expect(rows).toHaveLength(1);
  });
});

describe('an idempotency key', () => {
  const idempotency = { key: 'k', fingerprint: 'f' };

  it('admits one of many concurrent requests', async () => {
    const { admit } = fresh();
    const answers = await Promise.all(times(100, (at) => admit(`j${at}`, { idempotency })));
    expect(answers.filter(({ kind }) => kind === 'admitted')).toHaveLength(1);
    expect(answers.filter((each) => each.kind === 'known' && each.in_flight && each.job === 'j0')).toHaveLength(99);
  });

  it('rejects another request without counting it', async () => {
    const { admit } = fresh();
    await admit('a', { idempotency });
    const other = await admit('b', { idempotency: { key: 'k', fingerprint: 'other' } });
    expect(other).toMatchObject({ kind: 'reused' });
    expect(other.quota[0]).toMatchObject({ remaining: submits_per_minute - 1 });
  });

  it('passes an interrupted request to the next one under the same id after the lease', async () => {
    const { admit, clock } = fresh();
    await admit('a', { idempotency });
    clock.pass(LEASE_MS - 1);
    expect(await admit('b', { idempotency })).toMatchObject({ kind: 'known', in_flight: true });
    clock.pass(1);
    expect(await admit('c', { idempotency })).toMatchObject({ kind: 'admitted', job: 'a' });
    expect(await admit('d', { idempotency })).toMatchObject({ kind: 'known', in_flight: true });
  });

  it('is deleted when its request created no job, and keeps its id when it may have', async () => {
    const { admit, stub } = fresh();
    const first = await admit('a', { idempotency });
    await stub.cancelAdmission('a', false, leaseOf(first));
    const second = await admit('b', { idempotency });
    expect(second).toMatchObject({ kind: 'admitted', job: 'b' });
    await stub.cancelAdmission('b', true, leaseOf(second));
    expect(await admit('c', { idempotency })).toMatchObject({ kind: 'admitted', job: 'b' });
  });

  it.each([true, false])(
    'stays with the request that took the work over when the first one fails late: %s',
    async (ended) => {
      const { admit, stub, clock, inside } = fresh();
      const first = await admit('a', { idempotency });
      clock.pass(LEASE_MS);
      const second = await admit('b', { idempotency });
      expect(second).toMatchObject({ kind: 'admitted', job: 'a' });
      // It may have ended too, and may have made the job.
      const third = ended
        ? await stub.cancelAdmission('a', true, leaseOf(second)).then(() => admit('c', { idempotency }))
        : second;
      expect(third).toMatchObject({ kind: 'admitted', job: 'a' });
      await stub.cancelAdmission('a', false, leaseOf(first));
      expect(await inside(['a'])).toEqual(['a']);
      expect(await admit('d', { idempotency })).toMatchObject({ kind: 'known', job: 'a' });
    },
  );

  it('gives a repeated call the same answer, and counts it once', async () => {
    const { admit, limit } = fresh();
    await limit({ submits_per_minute: 1, jobs_in_flight: 1, max_queued: 0 });
    const first = await admit('a', { idempotency });
    const again = await admit('a', { idempotency });
    expect({ ...again, lease: null }).toEqual({ ...first, lease: null });
    expect(await admit('b', { idempotency })).toMatchObject({ kind: 'known', job: 'a', in_flight: true });
  });

  it('finds its job although the account would now refuse it', async () => {
    const { admit, limit, clock } = fresh();
    await admit('a', { idempotency, retention: 3_600 });
    clock.pass(LEASE_MS);
    await limit({ retention: 60 });
    expect(await admit('b', { idempotency, retention: 3_600 })).toMatchObject({ kind: 'admitted', job: 'a' });
    expect(await admit('c', { retention: 3_600 })).toMatchObject({ kind: 'retention_too_long' });
  });

  it('is not stored by a refused request', async () => {
    const { admit, limit, release } = fresh();
    await limit({ jobs_in_flight: 1, max_queued: 0 });
    await admit('a');
    expect(await admit('b', { idempotency })).toMatchObject({ kind: 'refused' });
    await release('a');
    expect(await admit('c', { idempotency: { key: 'k', fingerprint: 'other' } })).toMatchObject({ kind: 'admitted' });
  });

  it('is kept for a day, also after its job has finished', async () => {
    const { admit, clock, release } = fresh();
    await admit('a', { idempotency });
    await release('a');
    clock.pass(KEY_LIFE_MS - 1);
    expect(await admit('b', { idempotency })).toMatchObject({ kind: 'known', job: 'a', in_flight: false });
    clock.pass(1);
    expect(await admit('b', { idempotency })).toMatchObject({ kind: 'admitted', job: 'b' });
  });
});

describe('a budget', () => {
  const job = { reserve: { gpu_ms: 10_000, micro_usd: 100_000 } };

  it('is not exceeded by a burst, because the highest cost of a job is reserved', async () => {
    const { admit, limit } = fresh();
    await limit({ usd_per_day: 1 });
    const answers = await Promise.all(times(100, (at) => admit(`j${at}`, job)));
    expect(answers.filter(({ kind }) => kind === 'admitted')).toHaveLength(10);
    expect(answers.at(-1)).toMatchObject({ code: 'budget_exceeded' });
  });

  it('is charged the actual cost of a released job, once', async () => {
    const { admit, limit, release } = fresh();
    await limit({ gpu_seconds_per_day: 20 });
    await admit('a', job);
    await admit('b', job);
    expect(await admit('c', job)).toMatchObject({ code: 'budget_exceeded', retry_after_s: 5 });
    await release('a', { gpu_ms: 4_000, micro_usd: 0 });
    await release('a', { gpu_ms: 4_000, micro_usd: 0 });
    expect(await admit('c', job)).toMatchObject({ code: 'budget_exceeded' });
    await release('b', { gpu_ms: 6_000, micro_usd: 0 });
    expect(await admit('c', job)).toMatchObject({ kind: 'admitted' });
    expect(await admit('d', job)).toMatchObject({ code: 'budget_exceeded' });
  });

  it('is reset at midnight UTC', async () => {
    const { admit, limit, release, clock } = fresh();
    await limit({ usd_per_day: 0.1 });
    await admit('a', job);
    await release('a', { gpu_ms: 10_000, micro_usd: 100_000 });
    const refused = await admit('b', job);
    const left = 86_400_000 - (Date.now() % 86_400_000);
    expect(refused).toMatchObject({ code: 'budget_exceeded', retry_after_s: left / 1000 });
    clock.pass(left);
    expect(await admit('b', job)).toMatchObject({ kind: 'admitted' });
  });

  it('refuses a job without a price when it is in dollars', async () => {
    const { admit, limit } = fresh();
    await limit({ usd_per_day: 100 });
    expect(await admit('a', { reserve: { gpu_ms: 1, micro_usd: null } })).toMatchObject({ code: 'budget_exceeded' });
  });

  it('charges a job that expired and is released late', async () => {
    const { admit, limit, release, clock } = fresh();
    await limit({ gpu_seconds_per_day: 10 });
    await admit('a', { ...job, expires_at: Date.now() + 1_000 });
    clock.pass(1_000);
    await admit('b', { reserve: { gpu_ms: 1, micro_usd: 0 } });
    await release('a', { gpu_ms: 5_000, micro_usd: 0 });
    expect(await admit('c', job)).toMatchObject({ code: 'budget_exceeded' });
  });
});

it('quota reports the remainder of every limit', async () => {
  const { admit, stub, limit } = fresh();
  await limit({ jobs_in_flight: 1 });
  await admit();
  await admit();
  expect(await stub.quota()).toEqual([
    {
      name: 'submits',
      limit: submits_per_minute,
      window_s: 60,
      unit: 'requests',
      remaining: submits_per_minute - 2,
      reset_s: 60,
    },
    { name: 'jobs', limit: 1, window_s: null, unit: 'concurrent-requests', remaining: 0, reset_s: null },
    {
      name: 'queued',
      limit: max_queued,
      window_s: null,
      unit: 'concurrent-requests',
      remaining: max_queued - 1,
      reset_s: null,
    },
  ]);
});
