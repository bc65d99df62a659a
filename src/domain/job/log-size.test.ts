import { describe, test } from 'vitest';
import { claimA, picture, Scenario, report } from '../../testing/scenario.ts';
import { readState } from './state.ts';
import { MAX_EVENT_BYTES } from './event-size.ts';
import { MAX_LOG_BYTES } from './transition.ts';

/** The log of a job whose worker says ever more of its nodes. */

const text = 'x'.repeat(40_000);
const bytes = (scenario: Scenario): number =>
  scenario.events.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0);

/** A job whose log is full. */
function full(): Scenario {
  const scenario = new Scenario({ deadline: Infinity }).claimed();
  for (let seq = 1; scenario.state.logged_bytes < MAX_LOG_BYTES; seq += 1) {
    scenario.now += 60_000;
    const nodes = { [`n${seq}`]: text };
    const message = { seq, type: 'progress', value: 0, nodes_done: 0, nodes_total: 1, nodes } as const;
    scenario.on({ kind: 'worker_message', attempt: 1, claim: claimA, message });
  }
  return scenario;
}

const next = (scenario: Scenario): number => (scenario.state.attempts.at(-1)?.acked ?? 0) + 1;

describe('a log of MAX_LOG_BYTES', () => {
  test('accepts no more progress, messages, outputs or stages', ({ expect }) => {
    const scenario = full();
    const events = scenario.events.length;
    const nodes = { more: text };
    for (const message of [
      { type: 'progress', value: 0.5, nodes_done: 0, nodes_total: 1, nodes },
      { type: 'log', level: 'info', message: 'more' },
      { type: 'output', output: picture },
      { type: 'stage', stage: 'uploading' },
    ] as const) {
      scenario.now += 60_000;
      scenario.on({ kind: 'worker_message', attempt: 1, claim: claimA, message: { seq: next(scenario), ...message } });
    }
    expect(scenario.events).toHaveLength(events);
    expect(scenario.state).toMatchObject({ stage: 'uploading', outputs: [picture] });
    expect(bytes(scenario)).toBeLessThan(MAX_LOG_BYTES + MAX_EVENT_BYTES);
  });

  test('still accepts the end of the job', ({ expect }) => {
    const scenario = full().on(report(1, claimA, { outputs: [picture] }));
    expect(scenario.events.at(-1)).toMatchObject({ event: 'status', data: { status: 'succeeded' } });
    expect(scenario.state.outputs).toEqual([picture]);
  });
});

test('a job that was stored without a log size begins to count it', ({ expect }) => {
  const { logged_bytes: _new, ...stored } = new Scenario().state;
  expect(readState(JSON.stringify(stored))).toMatchObject({ logged_bytes: 0 });
});
