import { describe, test } from 'vitest';
import type { Health, WorkersByState } from '../../contract/endpoint.ts';
import { isStarving, stageOf, supplyOf } from './health.ts';

const healthWith = (workers: Partial<WorkersByState>, in_queue = 1): Health => ({
  workers: { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0, ...workers },
  in_queue,
  in_progress: 0,
});

describe('a waiting run', () => {
  test.for([
    ['has a starting worker', { initializing: 1 }, 'cold_start'],
    ['has a starting worker and busy workers', { initializing: 1, running: 2 }, 'cold_start'],
    ['waits for an idle worker', { initializing: 1, idle: 1 }, 'capacity'],
    ['waits for a machine', { throttled: 2 }, 'capacity'],
    ['waits for a busy worker', { running: 2 }, 'capacity'],
    ['has no worker', {}, 'capacity'],
  ] as const)('%s: %j has the stage %s', ([, workers, stage], { expect }) => {
    expect(stageOf(healthWith(workers))).toBe(stage);
  });
});

describe('the health of an endpoint', () => {
  test.for([
    [{}, 1, true],
    [{ unhealthy: 3 }, 1, true],
    [{}, 0, false],
    [{ throttled: 1 }, 1, false],
    [{ initializing: 1 }, 1, false],
    [{ running: 1 }, 1, false],
  ] as const)('is starving with %j workers and %d queued runs: %s', ([workers, queued, starving], { expect }) => {
    expect(isStarving(healthWith(workers, queued))).toBe(starving);
  });

  test('is reported as starved only after the time limit', ({ expect }) => {
    const none = healthWith({});
    expect(supplyOf(none, null, 1_000, 500)).toBe('unknown');
    expect(supplyOf(none, 501, 1_000, 500)).toBe('unknown');
    expect(supplyOf(none, 500, 1_000, 500)).toBe('starved');
    expect(supplyOf(healthWith({ idle: 1 }), 0, 1_000, 500)).toBe('some');
    expect(supplyOf(healthWith({}, 0), null, 1_000, 500)).toBe('idle');
  });
});
