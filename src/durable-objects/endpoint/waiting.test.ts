import { describe, expect, it } from 'vitest';
import { Backlog } from './waiting.ts';

describe('jobs that wait for one endpoint', () => {
  it('are counted once each, until they are removed or have not asked for twice their wait', () => {
    const line = new Backlog();
    const first = line.add('a', 10_000, 0);
    line.add('b', 10_000, 0);
    line.add('a', 10_000, 0);
    expect(line.count(0)).toBe(2);
    line.remove('b');
    expect(line.count(first)).toBe(1);
    expect(line.count(30_000)).toBe(0);
  });

  it('get at least the given wait, spread so that at most a few ask at once', () => {
    const line = new Backlog();
    const jobs = Array.from({ length: 2_000 }, (_, index) => `j${index}`);
    for (const job of jobs) {
      line.add(job, 1_000, 0);
    }
    const waits = jobs.map((job) => line.add(job, 1_000, 0));
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(1_000);
    const perStep = new Map<number, number>();
    for (const wait of waits) {
      perStep.set(wait, (perStep.get(wait) ?? 0) + 1);
    }
    expect(Math.max(...perStep.values())).toBeLessThanOrEqual(5);
  });
});
