import { evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config.ts';
import { heldClock } from '../../testing/job.ts';
import { accountStub } from '../stubs.ts';

const { jobs_in_flight, submits_per_minute } = requireConfig(env).limits;
const HOUR_MS = 3_600_000;

/** An account nobody used before, at the beginning of a window. */
function fresh() {
  const clock = heldClock();
  clock.pass(60_000 - (Date.now() % 60_000));
  const account = `a${crypto.randomUUID()}`;
  const stub = accountStub(env, account);
  let jobs = 0;
  return {
    clock,
    object: env.ACCOUNT.getByName(account),
    admit: (job = `job-${(jobs += 1)}`, expires_at = Date.now() + HOUR_MS) => stub.admit({ job, expires_at }),
    release: (job: string) => stub.release(job),
  };
}

describe('jobs in flight', () => {
  it('are exactly as many as allowed, however many ask at once', async () => {
    const { admit } = fresh();
    const answers = await Promise.all(Array.from({ length: 100 }, () => admit()));
    expect(answers.filter((answer) => answer.admitted)).toHaveLength(jobs_in_flight);
    expect(answers.filter((answer) => !answer.admitted)).toEqual(
      Array.from({ length: 100 - jobs_in_flight }, () => ({
        admitted: false,
        code: 'too_many_jobs',
        limit: jobs_in_flight,
        window_s: null,
        retry_after_s: expect.any(Number),
      })),
    );
  });

  it('make room when one is released, once', async () => {
    const { admit, release } = fresh();
    await Promise.all(Array.from({ length: jobs_in_flight }, (_, index) => admit(`j${index}`)));
    await release('j3');
    await release('j3');
    await release('nobody');
    expect(await admit('next')).toEqual({ admitted: true });
    expect(await admit('one more')).toMatchObject({ code: 'too_many_jobs' });
  });

  it('count a job that asks again once, even with the account full', async () => {
    const { admit } = fresh();
    await Promise.all(Array.from({ length: jobs_in_flight }, (_, index) => admit(`j${index}`)));
    expect(await admit('j0')).toEqual({ admitted: true });
    expect(await admit('new')).toMatchObject({ admitted: false });
  });

  it('give their place back by themselves when nobody released them in time', async () => {
    const { admit, clock } = fresh();
    await Promise.all(Array.from({ length: jobs_in_flight }, (_, index) => admit(`j${index}`, Date.now() + 10_000)));
    clock.pass(9_999);
    expect(await admit('early')).toMatchObject({ code: 'too_many_jobs' });
    clock.pass(1);
    expect(await admit('in time')).toEqual({ admitted: true });
  });

  it('are remembered when the object sleeps', async () => {
    const { admit, object } = fresh();
    await Promise.all(Array.from({ length: jobs_in_flight }, () => admit()));
    await evictDurableObject(object);
    expect(await admit()).toMatchObject({ code: 'too_many_jobs' });
  });
});

describe('submits in a minute', () => {
  it('are exactly as many as allowed; the next minute allows as many again', async () => {
    const { admit, release, clock } = fresh();
    for (let submits = 0; submits < submits_per_minute; submits += 1) {
      expect(await admit(`j${submits}`)).toEqual({ admitted: true });
      await release(`j${submits}`);
    }
    clock.pass(15_500);
    expect(await admit('over')).toEqual({
      admitted: false,
      code: 'rate_limited',
      limit: submits_per_minute,
      window_s: 60,
      retry_after_s: 45,
    });
    clock.pass(44_499);
    expect(await admit('still over')).toMatchObject({ code: 'rate_limited', retry_after_s: 1 });
    clock.pass(1);
    expect(await admit('in time')).toEqual({ admitted: true });
  });

  it('do not count one that was refused', async () => {
    const { admit, release } = fresh();
    await Promise.all(Array.from({ length: jobs_in_flight }, (_, index) => admit(`j${index}`)));
    await Promise.all(Array.from({ length: submits_per_minute }, () => admit()));
    await release('j0');
    expect(await admit('new')).toEqual({ admitted: true });
  });

  it('leave no line behind for minutes that have passed', async () => {
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
