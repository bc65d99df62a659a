import * as fc from 'fast-check';
import { describe, test } from 'vitest';
import { isTerminal, NEXT_STATUSES, STATUSES, TERMINAL_STATUSES, type Status } from '../../contract/job.ts';
import { claimA, Scenario, report, SILENT_WORKER, START, worker, workerError } from '../../testing/scenario.ts';
import { randomScenarios } from '../../testing/random-scenarios.ts';
import type { Signal } from './signals.ts';

/**
 * Guards the status of a job under any order of signals: only the documented changes occur, a terminal status is final,
 * and a message of a replaced attempt changes nothing.
 */

/**
 * Returns the status changes of a scenario as "from → to". A repeated status is a new stage or attempt and not a
 * change.
 */
function changesIn(signals: readonly [Signal, number][], options: ConstructorParameters<typeof Scenario>[0]): string[] {
  const scenario = new Scenario(options);
  for (const [signal, pause] of signals) {
    scenario.now += pause;
    scenario.on(signal);
  }
  // The log says every change, in order: the test checks the log, which clients see.
  const seen = scenario.events.flatMap((event) => (event.event === 'status' ? [event.data.status] : []));
  const changes = seen.slice(1).flatMap((status, at) => (seen[at] === status ? [] : [`${seen[at]} → ${status}`]));
  return seen[0] === 'queued' ? changes : [`nothing → ${seen[0]}`, ...changes];
}

const legal = new Set(STATUSES.flatMap((from) => NEXT_STATUSES[from].map((to: Status): string => `${from} → ${to}`)));

const options = fc.record(
  {
    waits: fc.boolean(),
    worker: fc.constant(SILENT_WORKER),
    start_deadline: fc.integer({ min: START + 1, max: START + 200_000 }),
    deadline: fc.integer({ min: START + 200_000, max: START + 900_000 }),
  },
  { requiredKeys: [] },
);

/** How far a job is when its scenario begins: random signals alone seldom lead to a worker that reports. */
const admitted: [Signal, number] = [{ kind: 'admitted' }, 5];
const claimed: [Signal, number] = [{ kind: 'claim', attempt: 1, claim: claimA, worker }, 5];
const canceled: [Signal, number] = [{ kind: 'cancel' }, 5];
const firstSteps = fc.constantFrom<[Signal, number][][]>(
  [],
  [admitted],
  [admitted, claimed],
  [admitted, claimed, canceled],
);

describe('the table of status transitions', () => {
  test('allows nothing after a terminal status, and reaches every status', ({ expect }) => {
    expect(STATUSES.filter((status) => NEXT_STATUSES[status].length === 0)).toEqual([...TERMINAL_STATUSES]);
    const reached = new Set<Status>(['queued']);
    for (const status of reached) {
      NEXT_STATUSES[status].forEach((next: Status) => reached.add(next));
    }
    expect([...reached].toSorted()).toEqual([...STATUSES].toSorted());
    expect(STATUSES.filter(isTerminal)).toEqual([...TERMINAL_STATUSES]);
  });

  test('holds for any signals in any order', ({ expect }) => {
    fc.assert(
      fc.property(options, firstSteps, randomScenarios, (given, first, signals) => {
        expect(changesIn([...first, ...signals], given).filter((change) => !legal.has(change))).toEqual([]);
      }),
      { numRuns: 3_000 },
    );
  });

  test('has no entry that never happens', ({ expect }) => {
    const failed = report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) });
    const cases: [Signal, number][][] = [
      // Cases that random scenarios rarely or never reach: a cancel so late that the deadline's grace ends before its
      // own.
      [claimed, [{ kind: 'cancel' }, 919_995], [{ kind: 'clock' }, 10_000]],
      [claimed, [failed, 5]],
    ];
    const seen = new Set(cases.flatMap((signals) => changesIn(signals, {})));
    fc.assert(
      fc.property(options, firstSteps, randomScenarios, (given, first, signals) => {
        changesIn([...first, ...signals], given).forEach((change) => seen.add(change));
      }),
      { numRuns: 3_000, seed: 1 },
    );
    expect([...seen].toSorted()).toEqual([...legal].toSorted());
  });
});
