import { describe, test } from 'vitest';
import type { Health, WorkersByState } from '../../contract/endpoint.ts';
import { isStarving, stageOf, supplyOf } from './health.ts';

const seen = (workers: Partial<WorkersByState>, in_queue = 1): Health => ({
  workers: { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0, ...workers },
  in_queue,
  in_progress: 0,
});

describe('a run that waits', () => {
  test.for([
    ['starts a worker', { initializing: 1 }, 'cold_start'],
    ['starts one beside others that are busy', { initializing: 1, running: 2 }, 'cold_start'],
    ['is about to be taken by one that is there', { initializing: 1, idle: 1 }, 'capacity'],
    ['waits for a machine', { throttled: 2 }, 'capacity'],
    ['waits for a busy worker', { running: 2 }, 'capacity'],
    ['has no worker at all', {}, 'capacity'],
  ] as const)('%s: %j is %s', ([, workers, stage], { expect }) => {
    expect(stageOf(seen(workers))).toBe(stage);
  });
});

describe('an endpoint', () => {
  test.for([
    [{}, 1, true],
    [{ unhealthy: 3 }, 1, true],
    [{}, 0, false],
    [{ throttled: 1 }, 1, false],
    [{ initializing: 1 }, 1, false],
    [{ running: 1 }, 1, false],
  ] as const)('with %j and %d queued starves: %s', ([workers, queued, starving], { expect }) => {
    expect(isStarving(seen(workers, queued))).toBe(starving);
  });

  test('is given up on only after it has starved for a while', ({ expect }) => {
    const none = seen({});
    expect(supplyOf(none, null, 1_000, 500)).toBe('unknown');
    expect(supplyOf(none, 501, 1_000, 500)).toBe('unknown');
    expect(supplyOf(none, 500, 1_000, 500)).toBe('starved');
    expect(supplyOf(seen({ idle: 1 }), 0, 1_000, 500)).toBe('some');
    expect(supplyOf(seen({}, 0), null, 1_000, 500)).toBe('idle');
  });
});
