import { describe, test } from 'vitest';
import { claimA, claimB, Play, report, START, worker, workerError } from '../../testing/scenario.ts';
import type { Signal } from './signals.ts';
import { readState } from './state.ts';
import { MAX_SENDS } from './transition.ts';
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

describe('a run that no endpoint takes for now', () => {
  const held: Signal = { kind: 'run_held', attempt: 1, wait_ms: 10_000, code: 'no_capacity', message: 'shut' };

  test('is sent when its wait is over, not before, and stays the same attempt', ({ expect }) => {
    const play = new Play().on(held);
    expect(play.after(9_999).did('send')).toHaveLength(1);
    expect(play.after(1).did('send')).toHaveLength(2);
    expect(play.state).toMatchObject({ status: 'queued', stage: 'capacity', attempts: [{ number: 1 }] });
  });

  test('fails the job with the reason at its deadline', ({ expect }) => {
    const play = new Play({ deadline: START + 5_000 }).on(held).after(5_000);
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'no_capacity', message: 'shut', attempt: 1 } });
  });

  test('is no reason any more once it was taken: the job expires', ({ expect }) => {
    const play = new Play().on(held).after(10_000).on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(play.after(890_000).state).toMatchObject({ status: 'expired', error: null });
  });

  test('says nothing to an attempt that a worker has', ({ expect }) => {
    const play = new Play().claimed().on(held);
    expect(play.reply).toBe('ignored');
  });
});

describe('a run that waits for a worker that there is not', () => {
  const starved = (elsewhere: boolean, attempt = 1): Signal => ({
    kind: 'run_status',
    attempt,
    status: 'queued',
    line: { stage: 'capacity', none: true, elsewhere },
  });
  const sent = () => new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });

  test('goes on waiting where there is nowhere else to go', ({ expect }) => {
    const play = sent().on(starved(false));
    expect(play.state.attempts).toMatchObject([{ phase: 'sent' }]);
    expect(play.after(900_000).state).toMatchObject({ status: 'failed', error: { code: 'no_capacity' } });
  });

  test('is given up for a new attempt where there is, as often as a job may be sent', ({ expect }) => {
    const play = sent().on(starved(true));
    expect(play.state.attempts).toMatchObject([{ outcome: 'superseded' }, { phase: 'sending' }]);
    expect(play.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
    for (let attempt = 2; attempt <= MAX_SENDS + 1; attempt += 1) {
      play.on({ kind: 'run_accepted', attempt, run_id: `r${attempt}` }).on(starved(true, attempt));
    }
    expect(play.state).toMatchObject({ status: 'queued' });
    expect(play.state.attempts).toHaveLength(MAX_SENDS);
  });

  test('is not given up once a worker has it', ({ expect }) => {
    const play = new Play().claimed().on(starved(true));
    expect(play.state.attempts).toMatchObject([{ phase: 'claimed' }]);
  });

  test('says so no more when a worker turns up', ({ expect }) => {
    const play = sent()
      .on(starved(false))
      .on({
        kind: 'run_status',
        attempt: 1,
        status: 'queued',
        line: { stage: 'cold_start', none: false, elsewhere: false },
      });
    expect(play.state.stage).toBe('cold_start');
    expect(play.after(900_000).state).toMatchObject({ status: 'expired' });
  });
});

describe('a run that is queued', () => {
  test('is asked about soon, a claimed one as often as the policy says, and seldom while its worker is on its channel', ({
    expect,
  }) => {
    const queued = new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(queued.after(5_000).did('check')).toHaveLength(1);
    const taken = new Play()
      .on({ kind: 'run_accepted', attempt: 1, run_id: 'r' })
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(taken.state.attempts[0]?.check_at).toBe(START + 30_000);
    const heard = new Play().claimed();
    expect(heard.after(119_999).did('check')).toHaveLength(0);
    expect(heard.after(1).did('check')).toHaveLength(1);
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
    const stored = { ...rest, attempts: attempts.map(({ endpoint: _too, held: _also, ...attempt }) => attempt) };
    expect(readState(JSON.stringify(stored))).toMatchObject({
      fallbacks: [],
      attempts: [{ endpoint: 'default', held: null }],
    });
  });
});
