import * as fc from 'fast-check';
import type { Signal } from '../domain/job/signals.ts';
import { claimA, claimB, picture, report, worker, workerError } from './scenario.ts';

const attempts = fc.integer({ min: 1, max: 4 });
const claims = fc.constantFrom(claimA, claimB);
const signals = fc.oneof(
  fc.record({ kind: fc.constant('run_accepted' as const), attempt: attempts, run_id: fc.constantFrom('r1', 'r2') }),
  fc.record({
    kind: fc.constant('run_refused' as const),
    attempt: attempts,
    retryable: fc.boolean(),
    code: fc.constant('no_capacity' as const),
    message: fc.constant('m'),
    retry_after_ms: fc.constant(null),
  }),
  fc.record({ kind: fc.constant('routed' as const), attempt: attempts, endpoint: fc.constantFrom('default', 'other') }),
  fc.record({
    kind: fc.constant('run_held' as const),
    attempt: attempts,
    wait_ms: fc.integer({ min: 0, max: 200_000 }),
    code: fc.constant('no_capacity' as const),
    message: fc.constant('m'),
  }),
  fc.record({ kind: fc.constant('run_unknown' as const), attempt: attempts }),
  fc.record({ kind: fc.constant('claim' as const), attempt: attempts, claim: claims, worker: fc.constant(worker) }),
  fc.record({
    kind: fc.constantFrom('channel_opened' as const, 'channel_closed' as const),
    attempt: attempts,
    claim: claims,
  }),
  fc.record({
    kind: fc.constant('worker_message' as const),
    attempt: attempts,
    claim: claims,
    message: fc.record({
      seq: fc.integer({ min: 1, max: 5 }),
      type: fc.constant('stage' as const),
      stage: fc.constantFrom('executing' as const, 'uploading' as const),
    }),
  }),
  fc
    .tuple(
      attempts,
      claims,
      fc.constantFrom('succeeded' as const, 'failed' as const, 'canceled' as const),
      fc.boolean(),
    )
    .map(([attempt, claim, outcome, retryable]) =>
      report(attempt, claim, { outcome, error: outcome === 'failed' ? workerError({ retryable }) : null }),
    ),
  fc.constant({ kind: 'cancel' as const }),
  // Only of runs whose worker knows no gateway; else they say nothing.
  fc.record({ kind: fc.constant('run_named' as const), attempt: attempts, run_id: fc.constantFrom('r1', 'r2') }),
  fc
    .tuple(attempts, fc.constantFrom(null, workerError(), workerError({ retryable: false })))
    .map(([attempt, error]): Signal => ({
      kind: 'run_result',
      attempt,
      result: { outputs: error === null ? [picture] : [], error, warnings: [], moved_ms: 1 },
    })),
  fc.record({ kind: fc.constant('run_hint' as const), attempt: attempts }),
  fc.record({
    kind: fc.constant('run_status' as const),
    attempt: attempts,
    status: fc.constantFrom(
      'queued' as const,
      'running' as const,
      'completed' as const,
      'failed' as const,
      'canceled' as const,
      'timed_out' as const,
      'missing' as const,
      'unreachable' as const,
    ),
    line: fc.option(
      fc.record({
        stage: fc.constantFrom('capacity' as const, 'cold_start' as const),
        none: fc.boolean(),
        elsewhere: fc.boolean(),
      }),
    ),
  }),
  fc.constant({ kind: 'clock' as const }),
);

/** Signals of several workers in any order, each with the time (ms) that passes before it. */
export const randomScenarios: fc.Arbitrary<[Signal, number][]> = fc.array(
  fc.tuple(signals, fc.integer({ min: 0, max: 40_000 })),
  { maxLength: 60 },
);
