import { describe, test } from 'vitest';
import { z } from 'zod';
import { isTerminal, STATUSES } from '../../contract/job.ts';
import { outboxKey } from '../../durable-objects/job/pending.ts';
import { noticeOf } from '../../durable-objects/job/view.ts';
import { claimA, picture, Scenario, policy, report, worker, workerError } from '../../testing/scenario.ts';
import type { Effect } from './signals.ts';
import { isStillNeeded } from './effect-relevance.ts';

/** Webhook notifications of a job: each status change, once. */

type Notice = Extract<Effect, { kind: 'notify' }>;
const notices = (scenario: Scenario): Notice[] => scenario.effects.filter((effect) => effect.kind === 'notify');
const notified = (scenario: Scenario): string[] => notices(scenario).map((notice) => notice.status);

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
  test('sends one notification for each status change and no others', ({ expect }) => {
    expect(notified(way())).toEqual(statuses);
  });

  test('numbers each notification by its event in the log', ({ expect }) => {
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
  test('sends no more notifications after any signal', ({ expect }) => {
    const scenario = way();
    const before = notified(scenario).length;
    scenario.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).on({ kind: 'cancel' });
    scenario.on(report(1, claimA, { outputs: [picture] })).after(900_000);
    expect(notified(scenario)).toHaveLength(before);
  });
});

test('webhooks get no notification of a stage', ({ expect }) => {
  const scenario = new Scenario().claimed();
  const before = notified(scenario).length;
  scenario.on({
    kind: 'worker_message',
    attempt: 1,
    claim: claimA,
    message: { seq: 1, type: 'stage', stage: 'executing' },
  });
  expect(scenario.statuses()).toHaveLength(before + 1);
  expect(notified(scenario)).toHaveLength(before);
});

test('a late notification contains the state of its time', ({ expect }) => {
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
  expect(notices(scenario).every((notice) => isStillNeeded(scenario.state, notice, Infinity))).toBe(true);
});
