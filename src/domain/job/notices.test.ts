import { describe, test } from 'vitest';
import { z } from 'zod';
import { isTerminal, STATUSES } from '../../contract/job.ts';
import { outboxKey } from '../../durable-objects/job/pending.ts';
import { noticeOf } from '../../durable-objects/job/view.ts';
import { claimA, picture, Scenario, policy, report, worker, workerError } from '../../testing/scenario.ts';
import type { Effect } from './signals.ts';
import { stillWanted } from './effect-relevance.ts';

/** What webhooks are told of a job: every change of status, once. */

type Notice = Extract<Effect, { kind: 'notify' }>;
const notices = (scenario: Scenario): Notice[] => scenario.effects.filter((effect) => effect.kind === 'notify');
const told = (scenario: Scenario): string[] => notices(scenario).map((notice) => notice.status);

/** The log's events by number, as the machine counts them. */
const logged = (scenario: Scenario, id: number) => scenario.events[id - 1];

const WAYS: [string, () => Scenario, string[]][] = [
  [
    'succeeds',
    () => new Scenario().claimed().on(report(1, claimA, { outputs: [picture] })),
    ['queued', 'running', 'succeeded'],
  ],
  [
    'is tried twice',
    () =>
      new Scenario()
        .claimed()
        .on(report(1, claimA, { outcome: 'failed', error: workerError() }))
        .claimed(),
    ['queued', 'running', 'queued', 'running'],
  ],
  ['is canceled before it runs', () => new Scenario().on({ kind: 'cancel' }), ['queued', 'canceled']],
  [
    'is canceled while it runs',
    () =>
      new Scenario()
        .claimed()
        .on({ kind: 'cancel' })
        .on({ kind: 'cancel' })
        .after(policy.cancel_grace * 1000),
    ['queued', 'running', 'canceling', 'canceled'],
  ],
  ['expires', () => new Scenario().after(900_000), ['queued', 'expired']],
  [
    'fails',
    () =>
      new Scenario().claimed().on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) })),
    ['queued', 'running', 'failed'],
  ],
];

describe.each(WAYS)('a job that %s', (_title, way, statuses) => {
  test('tells each change of status once and nothing else', ({ expect }) => {
    expect(told(way())).toEqual(statuses);
  });

  test('numbers what it tells by the event of its log that says it', ({ expect }) => {
    const scenario = way();
    for (const { sequence, status, at } of notices(scenario)) {
      expect(logged(scenario, sequence)).toMatchObject({
        event: 'status',
        data: { status, at: new Date(at).toISOString() },
      });
    }
    expect(new Set(notices(scenario).map(outboxKey)).size).toBe(statuses.length);
  });
});

const OVER = WAYS.filter(([, , statuses]) => isTerminal(z.enum(STATUSES).parse(statuses.at(-1))));

describe.each(OVER)('a job that %s', (_title, way) => {
  test('tells nothing more, whatever comes then', ({ expect }) => {
    const scenario = way();
    const before = told(scenario).length;
    scenario.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).on({ kind: 'cancel' });
    scenario.on(report(1, claimA, { outputs: [picture] })).after(900_000);
    expect(told(scenario)).toHaveLength(before);
  });
});

test('stages of one status are told to watchers, not to webhooks', ({ expect }) => {
  const scenario = new Scenario().claimed();
  const before = told(scenario).length;
  scenario.on({
    kind: 'worker_message',
    attempt: 1,
    claim: claimA,
    message: { seq: 1, type: 'stage', stage: 'executing' },
  });
  expect(scenario.statuses()).toHaveLength(before + 1);
  expect(told(scenario)).toHaveLength(before);
});

test('a notice that is told late says what was true then', ({ expect }) => {
  const scenario = new Scenario();
  scenario.now += 5_000;
  scenario.claimed();
  scenario.now += 5_000;
  scenario.on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) }));
  const late = notices(scenario).map((notice) => noticeOf(scenario.state, notice));
  expect(
    late.map(({ status, started_at, completed_at, error }) => [status, started_at, completed_at, error?.code]),
  ).toEqual([
    ['queued', null, null, undefined],
    ['running', scenario.now - 5_000, null, undefined],
    ['failed', scenario.now - 5_000, scenario.now, 'comfyui_unavailable'],
  ]);
  expect(notices(scenario).every((notice) => stillWanted(scenario.state, notice, Infinity))).toBe(true);
});
