import { describe, test } from 'vitest';
import { z } from 'zod';
import { isTerminal, STATUSES } from '../../contract/job.ts';
import { outboxKey } from '../../durable-objects/job/pending.ts';
import { noticeOf } from '../../durable-objects/job/view.ts';
import { claimA, picture, Play, policy, report, worker, workerError } from '../../testing/scenario.ts';
import type { Effect } from './signals.ts';
import { stillWanted } from './effect-relevance.ts';

/** What webhooks are told of a job: every change of status, once. */

type Notice = Extract<Effect, { kind: 'notify' }>;
const notices = (play: Play): Notice[] => play.effects.filter((effect) => effect.kind === 'notify');
const told = (play: Play): string[] => notices(play).map((notice) => notice.status);

/** The log's events by number, as the machine counts them. */
const logged = (play: Play, id: number) => play.events[id - 1];

const WAYS: [string, () => Play, string[]][] = [
  [
    'succeeds',
    () => new Play().claimed().on(report(1, claimA, { outputs: [picture] })),
    ['queued', 'running', 'succeeded'],
  ],
  [
    'is tried twice',
    () =>
      new Play()
        .claimed()
        .on(report(1, claimA, { outcome: 'failed', error: workerError() }))
        .claimed(),
    ['queued', 'running', 'queued', 'running'],
  ],
  ['is canceled before it runs', () => new Play().on({ kind: 'cancel' }), ['queued', 'canceled']],
  [
    'is canceled while it runs',
    () =>
      new Play()
        .claimed()
        .on({ kind: 'cancel' })
        .on({ kind: 'cancel' })
        .after(policy.cancel_grace * 1000),
    ['queued', 'running', 'canceling', 'canceled'],
  ],
  ['expires', () => new Play().after(900_000), ['queued', 'expired']],
  [
    'fails',
    () => new Play().claimed().on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) })),
    ['queued', 'running', 'failed'],
  ],
];

describe.each(WAYS)('a job that %s', (_title, way, statuses) => {
  test('tells each change of status once and nothing else', ({ expect }) => {
    expect(told(way())).toEqual(statuses);
  });

  test('numbers what it tells by the event of its log that says it', ({ expect }) => {
    const play = way();
    for (const { sequence, status, at } of notices(play)) {
      expect(logged(play, sequence)).toMatchObject({
        event: 'status',
        data: { status, at: new Date(at).toISOString() },
      });
    }
    expect(new Set(notices(play).map(outboxKey)).size).toBe(statuses.length);
  });
});

const OVER = WAYS.filter(([, , statuses]) => isTerminal(z.enum(STATUSES).parse(statuses.at(-1))));

describe.each(OVER)('a job that %s', (_title, way) => {
  test('tells nothing more, whatever comes then', ({ expect }) => {
    const play = way();
    const before = told(play).length;
    play.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).on({ kind: 'cancel' });
    play.on(report(1, claimA, { outputs: [picture] })).after(900_000);
    expect(told(play)).toHaveLength(before);
  });
});

test('stages of one status are told to watchers, not to webhooks', ({ expect }) => {
  const play = new Play().claimed();
  const before = told(play).length;
  play.on({
    kind: 'worker_message',
    attempt: 1,
    claim: claimA,
    message: { seq: 1, type: 'stage', stage: 'executing' },
  });
  expect(play.statuses()).toHaveLength(before + 1);
  expect(told(play)).toHaveLength(before);
});

test('a notice that is told late says what was true then', ({ expect }) => {
  const play = new Play();
  play.now += 5_000;
  play.claimed();
  play.now += 5_000;
  play.on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) }));
  const late = notices(play).map((notice) => noticeOf(play.state, notice));
  expect(
    late.map(({ status, started_at, completed_at, error }) => [status, started_at, completed_at, error?.code]),
  ).toEqual([
    ['queued', null, null, undefined],
    ['running', play.now - 5_000, null, undefined],
    ['failed', play.now - 5_000, play.now, 'comfyui_unavailable'],
  ]);
  expect(notices(play).every((notice) => stillWanted(play.state, notice, Infinity))).toBe(true);
});
