import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { queuePosition, type QueuedJob } from './queue.ts';

const line = (...jobs: [job: string, key: string, priority?: number][]): QueuedJob[] =>
  jobs.map(([job, key, priority = 1]) => ({ job, key, priority }));
const placesOf = (waiting: QueuedJob[], inWork = new Map<string, number>()) =>
  Object.fromEntries(waiting.map(({ job }) => [job, queuePosition(waiting, inWork, job)]));

describe('queue position', () => {
  it('follows the order of arrival among the jobs of one key', () => {
    expect(placesOf(line(['a', 'k'], ['b', 'k'], ['c', 'k']))).toEqual({ a: 1, b: 2, c: 3 });
  });

  it('is behind every job of a higher class', () => {
    expect(placesOf(line(['low', 'k', 0], ['usual', 'k', 1], ['high', 'k', 2]))).toEqual({ low: 3, usual: 2, high: 1 });
  });

  it('alternates between keys, beginning with the one with the fewest active jobs', () => {
    const waiting = line(['a1', 'a'], ['a2', 'a'], ['b1', 'b'], ['b2', 'b']);
    expect(placesOf(waiting, new Map([['a', 1]]))).toEqual({ b1: 1, a1: 2, b2: 3, a2: 4 });
  });

  it('is null for a job that is not queued', () => {
    expect(queuePosition(line(['a', 'k']), new Map(), 'b')).toBeNull();
  });

  it('equals the order in which Slots.promote admits any queue', () => {
    const waiting = fc
      .array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 2 })), { maxLength: 20 })
      .map((jobs) => jobs.map(([key, priority], at) => ({ job: `j${at}`, key, priority })));
    const inWork = fc
      .dictionary(fc.constantFrom('a', 'b', 'c'), fc.nat(4))
      .map((counts) => new Map(Object.entries(counts)));
    fc.assert(
      fc.property(waiting, inWork, (jobs, counts) => {
        const order = letIn(jobs, counts);
        expect(jobs.map(({ job }) => queuePosition(jobs, counts, job))).toEqual(
          jobs.map(({ job }) => order.indexOf(job) + 1),
        );
      }),
    );
  });
});

/**
 * The rule of `Places.fill`, one place after another: the highest class, the key with the fewest in work, who came
 * first.
 */
function letIn(jobs: readonly QueuedJob[], inWork: ReadonlyMap<string, number>): string[] {
  const counts = new Map(inWork);
  const count = ({ key }: QueuedJob): number => counts.get(key) ?? 0;
  const left = [...jobs];
  return jobs.map(() => {
    const [next] = left.toSorted(
      (one, other) =>
        other.priority - one.priority || count(one) - count(other) || jobs.indexOf(one) - jobs.indexOf(other),
    );
    if (next === undefined) {
      throw new Error('as many are let in as wait');
    }
    counts.set(next.key, count(next) + 1);
    left.splice(left.indexOf(next), 1);
    return next.job;
  });
}
