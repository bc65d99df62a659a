import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import * as fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { PRIORITIES, type AdmitRequest } from '../../contract/admission.ts';
import { Slots } from './slots.ts';

const SLOTS = 2;
const DAY_MS = 86_400_000;

/** The storage of an account nobody used before. */
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

function take({ what, job, ms }: Step, places: Slots, now: number): number {
  const state = places.stateOf(job);
  const isIn = state === 'active' || state === 'queued';
  switch (what) {
    case 'enter':
      if (!isIn) {
        places.enqueue(request(job, now + 1_000), SLOTS);
      }
      break;
    case 'again':
      if (!isIn) {
        places.requeue(job, now + 1_000);
      }
      break;
    case 'leave':
      places.remove(job);
      break;
    case 'give_up':
      places.markExpired(job);
      break;
    case 'extend':
      places.extend(job, now + 2_000);
      break;
    case 'wait':
      break;
  }
  const later = what === 'wait' ? now + ms : now;
  places.expire(later);
  places.promote(SLOTS);
  return later;
}

describe('what an account counts of its jobs', () => {
  it('is what its rows come to, whatever has happened', () =>
    withRows((storage) => {
      fc.assert(
        fc.property(steps, (taken) => {
          storage.sql.exec('DELETE FROM slots');
          const places = new Slots(storage.sql);
          let now = 1_000_000;
          for (const step of taken) {
            now = take(step, places, now);
            const anew = new Slots(storage.sql);
            expect([places.count('active'), places.count('queued'), places.reserved()]).toEqual([
              anew.count('active'),
              anew.count('queued'),
              anew.reserved(),
            ]);
            const [{ late } = { late: -1 }] = storage.sql
              .exec<{ late: number }>(
                `SELECT count(*) AS late FROM slots WHERE (state <> 'expired' AND expires_at <= ?1)
                 OR (state = 'expired' AND expires_at <= ?1 - ${7 * DAY_MS})`,
                now,
              )
              .toArray();
            expect(late).toBe(0);
            expect(places.count('active') === SLOTS || places.count('queued') === 0).toBe(true);
          }
        }),
      );
    }));

  it('is not read again for the next job, nor is any row but its own', () =>
    withRows((storage) => {
      const places = new Slots(storage.sql);
      places.enqueue(request('a', 9e12), 1_000);
      const exec = vi.spyOn(storage.sql, 'exec');
      places.expire(1);
      places.enqueue(request('b', 9e12), 1_000);
      places.promote(1_000);
      expect(places.count('active')).toBe(2);
      expect(exec.mock.calls.map(([query]) => query.trim().split(' ')[0])).toEqual(['INSERT']);
      expect(exec.mock.results.map(({ value }) => value.rowsWritten)).toEqual([1]);
      exec.mockRestore();
    }));
});
