import { describe, test } from 'vitest';
import { claimA, claimB, Play, report, workerError } from '../../testing/play.ts';
import { readState } from './state.ts';
import { usedBy } from './usage.ts';

const FALLBACKS = [{ endpoint: 'other', price_per_second: 0.002 }];

describe('an attempt', () => {
  test('is for the job’s own endpoint until it is sent elsewhere', ({ expect }) => {
    const play = new Play({ fallbacks: FALLBACKS });
    expect(play.state.attempts).toMatchObject([{ endpoint: 'default' }]);
    play.on({ kind: 'routed', attempt: 1, endpoint: 'other' });
    expect(play.reply).toBe('done');
    expect(play.state).toMatchObject({ endpoint: 'default', attempts: [{ endpoint: 'other' }] });
  });

  test('keeps its endpoint from the moment anything may have been sent', ({ expect }) => {
    const sent = new Play({ fallbacks: FALLBACKS }).on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    const unknown = new Play({ fallbacks: FALLBACKS }).on({ kind: 'run_unknown', attempt: 1 });
    const taken = new Play({ fallbacks: FALLBACKS }).claimed();
    for (const play of [sent, unknown, taken]) {
      play.on({ kind: 'routed', attempt: 1, endpoint: 'other' });
      expect(play.reply).toBe('ignored');
      expect(play.state.attempts).toMatchObject([{ endpoint: 'default' }]);
    }
  });

  test('after one at a fallback begins at the job’s own endpoint again', ({ expect }) => {
    const play = new Play({ fallbacks: FALLBACKS }).on({ kind: 'routed', attempt: 1, endpoint: 'other' }).claimed();
    play.on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(play.state.attempts).toMatchObject([{ endpoint: 'other' }, { endpoint: 'default' }]);
  });
});

describe('the cost of a job', () => {
  test('is each attempt’s time at the price of its own endpoint', ({ expect }) => {
    const play = new Play({ price_per_second: 0.001, fallbacks: FALLBACKS })
      .on({ kind: 'routed', attempt: 1, endpoint: 'other' })
      .claimed();
    play.now += 10_000;
    play.on(report(1, claimA, { outcome: 'succeeded' }));
    expect(usedBy(play.state)).toEqual({ gpu_ms: 10_000, micro_usd: 20_000 });
  });

  test('leaves out an attempt that the platform lost, wherever it ran', ({ expect }) => {
    const play = new Play({ price_per_second: 0.001, fallbacks: FALLBACKS }).claimed();
    play.now += 5_000;
    play.on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    play.on({ kind: 'routed', attempt: 2, endpoint: 'other' }).claimed(claimB);
    play.now += 3_000;
    play.on(report(2, claimB, { outcome: 'succeeded' }));
    expect(usedBy(play.state)).toEqual({ gpu_ms: 3_000, micro_usd: 6_000 });
  });
});

describe('a job that was stored before there were fallbacks', () => {
  test('has none, and its attempts are of its own endpoint', ({ expect }) => {
    const { fallbacks: _later, attempts, ...rest } = new Play().state;
    const stored = { ...rest, attempts: attempts.map(({ endpoint: _too, ...attempt }) => attempt) };
    expect(readState(JSON.stringify(stored))).toMatchObject({ fallbacks: [], attempts: [{ endpoint: 'default' }] });
  });
});
