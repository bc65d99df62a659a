import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import * as fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { PRIORITIES, type AdmitRequest } from '../../contract/admission.ts';
import { Slots } from './slots.ts';

const SLOTS = 2;
const DAY_MS = 86_400_000;

/** The storage of a new account. */
const withRows = (use: (storage: DurableObjectStorage) => void): Promise<void> =>
  runInDurableObject(env.ACCOUNT.getByName(`a${crypto.randomUUID()}`), (_account, { storage }) => {
    use(storage);
  });

const request = (job: string, expires_at: number): AdmitRequest => ({
  job,
  account: 'a',
  key: `k${job.length % 2}`,
  inputs: [],
  retention: null,
  priority: PRIORITIES[job.length % 3] ?? 'normal',
  expires_at,
  reserve: { gpu_ms: 7, micro_usd: job.length },
  idempotency: null,
});

type Step = { what: 'enter' | 'again' | 'leave' | 'give_up' | 'extend' | 'wait'; job: string; ms: number };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    what: fc.constantFrom('enter', 'again', 'leave', 'give_up', 'extend', 'wait'),
    job: fc.constantFrom('a', 'bb', 'ccc'),
    ms: fc.constantFrom(0, 1, 500, 8 * DAY_MS),
  }),
  { minLength: 10, maxLength: 40, size: 'max' },
);

function take({ what, job, ms }: Step, slots: Slots, now: number): number {
  const state = slots.stateOf(job);
  const isIn = state === 'active' || state === 'queued';
  switch (what) {
    case 'enter':
      if (!isIn) {
        slots.enqueue(request(job, now + 1_000), SLOTS);
      }
      break;
    case 'again':
      if (!isIn) {
        slots.requeue(job, now + 1_000);
      }
      break;
    case 'leave':
      slots.remove(job);
      break;
    case 'give_up':
      slots.markExpired(job);
      break;
    case 'extend':
      slots.extend(job, now + 2_000);
      break;
    case 'wait':
      break;
  }
  const later = what === 'wait' ? now + ms : now;
  slots.expire(later);
  slots.promote(SLOTS);
  return later;
}

describe("totals of an account's slots", () => {
  it('equal the sums of the rows after any sequence of calls', () =>
    withRows((storage) => {
      fc.assert(
        fc.property(steps, (taken) => {
          storage.sql.exec('DELETE FROM slots');
          const slots = new Slots(storage.sql);
          let now = 1_000_000;
          for (const step of taken) {
            now = take(step, slots, now);
            const reopened = new Slots(storage.sql);
            expect([slots.count('active'), slots.count('queued'), slots.reserved()]).toEqual([
              reopened.count('active'),
              reopened.count('queued'),
              reopened.reserved(),
            ]);
            const [{ late } = { late: -1 }] = storage.sql
              .exec<{ late: number }>(
                `SELECT count(*) AS late FROM slots WHERE (state <> 'expired' AND expires_at <= ?1)
                 OR (state = 'expired' AND expires_at <= ?1 - ${7 * DAY_MS})`,
                now,
              )
              .toArray();
            expect(late).toBe(0);
            expect(slots.count('active') === SLOTS || slots.count('queued') === 0).toBe(true);
          }
        }),
      );
    }));

  it('are not read again for the next job, which reads no row but its own', () =>
    withRows((storage) => {
      const slots = new Slots(storage.sql);
      slots.enqueue(request('a', 9e12), 1_000);
      const exec = vi.spyOn(storage.sql, 'exec');
      slots.expire(1);
      slots.enqueue(request('b', 9e12), 1_000);
      slots.promote(1_000);
      expect(slots.count('active')).toBe(2);
      expect(exec.mock.calls.map(([query]) => query.trim().split(' ')[0])).toEqual(['INSERT']);
      expect(exec.mock.results.map(({ value }) => value.rowsWritten)).toEqual([1]);
      exec.mockRestore();
    }));
});
