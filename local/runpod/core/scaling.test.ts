import { describe, expect, it } from 'vitest';
import { newJob, type RunpodJob } from './job.ts';
import { Roster, type WorkerRecord, type WorkerState } from './roster.ts';
import { nextScaling, workersToStart } from './scaling.ts';

const NOW = 1_000_000;

function waiting(count: number, changes: { lowPriority?: boolean; queuedAt?: number } = {}): RunpodJob[] {
  return Array.from({ length: count }, (_, index) =>
    newJob(
      {
        id: `j${index}`,
        source: 'run',
        input: {},
        webhook: null,
        executionTimeoutMs: 1,
        ttlMs: 1,
        lowPriority: changes.lowPriority ?? false,
        s3Config: undefined,
      },
      changes.queuedAt ?? NOW,
    ),
  );
}

function workers(...states: WorkerState[]): WorkerRecord[] {
  const roster = new Roster(
    { min: 0, idleTimeoutMs: 1, initTimeoutMs: 1, stopGraceMs: 1, termGraceMs: 1, silenceMs: 1 },
    () => {},
  );
  return states.map((state) => Object.assign(roster.open(NOW), { state }));
}

const rules = { min: 0, max: 3, queueDelayMs: 0 };

describe('the number of workers started', () => {
  it.each([
    ['none without jobs', rules, 0, [], 0],
    ['one for each waiting job', rules, 2, [], 2],
    ['never more than max', rules, 9, [], 3],
    ['none for a job an idle worker can take', rules, 1, ['idle'], 0],
    ['none for a job a starting worker will take', rules, 1, ['initializing'], 0],
    ['one more when the running ones are busy', rules, 1, ['running'], 1],
    ['none while stopping workers fill the places', rules, 1, ['stopping', 'stopping', 'stopping'], 0],
    ['the minimum without any job', { ...rules, min: 2 }, 0, [], 2],
    ['the minimum again after one has gone', { ...rules, min: 2 }, 0, ['idle'], 1],
    ['nothing when max is 0, as after a week without requests', { ...rules, max: 0 }, 5, [], 0],
  ] as const)('%s', (_, given, jobs, states, expected) => {
    expect(workersToStart(given, waiting(jobs), workers(...states), NOW)).toBe(expected);
  });

  it('is 0 for low priority', () => {
    expect(workersToStart(rules, waiting(3, { lowPriority: true }), [], NOW)).toBe(0);
  });

  it('is 0 until a job has waited for the queue delay, then 1', () => {
    const delayed = { ...rules, queueDelayMs: 4000 };
    const queued = waiting(1);
    expect(workersToStart(delayed, queued, [], NOW + 3999)).toBe(0);
    expect(nextScaling(delayed, queued, NOW)).toBe(NOW + 4000);
    expect(workersToStart(delayed, queued, [], NOW + 4000)).toBe(1);
    expect(nextScaling(delayed, queued, NOW + 4000)).toBe(Number.POSITIVE_INFINITY);
  });
});
