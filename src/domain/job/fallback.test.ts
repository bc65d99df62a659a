import { describe, test } from 'vitest';
import { claimA, claimB, Scenario, report, START, worker, workerError } from '../../testing/scenario.ts';
import type { Signal } from './signals.ts';
import { readState } from './state.ts';
import { MAX_ATTEMPTS } from './transition.ts';
import { chargeOf } from './usage.ts';

const FALLBACKS = [{ endpoint: 'other', price_per_second: 0.002 }];

describe('an attempt', () => {
  test('uses the job’s own endpoint until it is routed to another', ({ expect }) => {
    const scenario = new Scenario({ fallbacks: FALLBACKS });
    expect(scenario.state.attempts).toMatchObject([{ endpoint: 'default' }]);
    scenario.on({ kind: 'routed', attempt: 1, endpoint: 'other' });
    expect(scenario.reply).toBe('done');
    expect(scenario.state).toMatchObject({ endpoint: 'default', attempts: [{ endpoint: 'other' }] });
  });

  test('keeps its endpoint after a run may have been sent', ({ expect }) => {
    const sent = new Scenario({ fallbacks: FALLBACKS }).on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    const unknown = new Scenario({ fallbacks: FALLBACKS }).on({ kind: 'run_unknown', attempt: 1 });
    const taken = new Scenario({ fallbacks: FALLBACKS }).claimed();
    for (const scenario of [sent, unknown, taken]) {
      scenario.on({ kind: 'routed', attempt: 1, endpoint: 'other' });
      expect(scenario.reply).toBe('ignored');
      expect(scenario.state.attempts).toMatchObject([{ endpoint: 'default' }]);
    }
  });

  test('begins at the job’s own endpoint again after an attempt at a fallback', ({ expect }) => {
    const scenario = new Scenario({ fallbacks: FALLBACKS })
      .on({ kind: 'routed', attempt: 1, endpoint: 'other' })
      .claimed();
    scenario.on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(scenario.state.attempts).toMatchObject([{ endpoint: 'other' }, { endpoint: 'default' }]);
  });
});

describe('a run that no endpoint accepts now', () => {
  const held: Signal = { kind: 'run_held', attempt: 1, wait_ms: 10_000, code: 'no_capacity', message: 'shut' };

  test('is sent after its wait as the same attempt', ({ expect }) => {
    const scenario = new Scenario().on(held);
    expect(scenario.after(9_999).did('send')).toHaveLength(1);
    expect(scenario.after(1).did('send')).toHaveLength(2);
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'capacity', attempts: [{ number: 1 }] });
  });

  test('fails the job at its deadline with the reason', ({ expect }) => {
    const scenario = new Scenario({ deadline: START + 5_000 }).on(held).after(5_000);
    expect(scenario.state).toMatchObject({
      status: 'failed',
      error: { code: 'no_capacity', message: 'shut', attempt: 1 },
    });
  });

  test('lets the job expire when the run was accepted later', ({ expect }) => {
    const scenario = new Scenario().on(held).after(10_000).on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(scenario.after(890_000).state).toMatchObject({ status: 'expired', error: null });
  });

  test('does not affect a claimed attempt', ({ expect }) => {
    const scenario = new Scenario().claimed().on(held);
    expect(scenario.reply).toBe('ignored');
  });
});

describe('a run that waits at an endpoint without workers', () => {
  const starved = (elsewhere: boolean, attempt = 1): Signal => ({
    kind: 'run_status',
    attempt,
    status: 'queued',
    waits_for: { stage: 'capacity', no_workers: true, elsewhere },
  });
  const sent = () => new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });

  test('keeps waiting when no other endpoint would accept it', ({ expect }) => {
    const scenario = sent().on(starved(false));
    expect(scenario.state.attempts).toMatchObject([{ phase: 'sent' }]);
    expect(scenario.after(900_000).state).toMatchObject({ status: 'failed', error: { code: 'no_capacity' } });
  });

  test('is replaced by a new attempt elsewhere, up to MAX_SENDS attempts', ({ expect }) => {
    const scenario = sent().on(starved(true));
    expect(scenario.state.attempts).toMatchObject([{ outcome: 'superseded' }, { phase: 'sending' }]);
    expect(scenario.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
    for (let attempt = 2; attempt <= MAX_ATTEMPTS + 1; attempt += 1) {
      scenario.on({ kind: 'run_accepted', attempt, run_id: `r${attempt}` }).on(starved(true, attempt));
    }
    expect(scenario.state).toMatchObject({ status: 'queued' });
    expect(scenario.state.attempts).toHaveLength(MAX_ATTEMPTS);
  });

  test('is not replaced after a worker has claimed it', ({ expect }) => {
    const scenario = new Scenario().claimed().on(starved(true));
    expect(scenario.state.attempts).toMatchObject([{ phase: 'claimed' }]);
  });

  test('no longer shows a lack of workers when one appears', ({ expect }) => {
    const scenario = sent()
      .on(starved(false))
      .on({
        kind: 'run_status',
        attempt: 1,
        status: 'queued',
        waits_for: { stage: 'cold_start', no_workers: false, elsewhere: false },
      });
    expect(scenario.state.stage).toBe('cold_start');
    expect(scenario.after(900_000).state).toMatchObject({ status: 'expired' });
  });
});

describe('a queued run', () => {
  test("is polled soon, at the policy's interval when claimed, and rarely while its channel is open", ({ expect }) => {
    const queued = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(queued.after(5_000).did('check')).toHaveLength(1);
    const taken = new Scenario()
      .on({ kind: 'run_accepted', attempt: 1, run_id: 'r' })
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(taken.state.attempts[0]?.check_at).toBe(START + 30_000);
    const heard = new Scenario().claimed();
    expect(heard.after(119_999).did('check')).toHaveLength(0);
    expect(heard.after(1).did('check')).toHaveLength(1);
  });
});

describe('the cost of a job', () => {
  test('is the time of each attempt at the price of its endpoint', ({ expect }) => {
    const scenario = new Scenario({ price_per_second: 0.001, fallbacks: FALLBACKS })
      .on({ kind: 'routed', attempt: 1, endpoint: 'other' })
      .claimed();
    scenario.now += 10_000;
    scenario.on(report(1, claimA, { outcome: 'succeeded' }));
    expect(chargeOf(scenario.state)).toEqual({ gpu_ms: 10_000, micro_usd: 20_000 });
  });

  test('excludes an attempt that the platform lost', ({ expect }) => {
    const scenario = new Scenario({ price_per_second: 0.001, fallbacks: FALLBACKS }).claimed();
    scenario.now += 5_000;
    scenario.on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    scenario.on({ kind: 'routed', attempt: 2, endpoint: 'other' }).claimed(claimB);
    scenario.now += 3_000;
    scenario.on(report(2, claimB, { outcome: 'succeeded' }));
    expect(chargeOf(scenario.state)).toEqual({ gpu_ms: 3_000, micro_usd: 6_000 });
  });
});

describe('a job that was stored without fallbacks', () => {
  test('has none, and its attempts use its own endpoint', ({ expect }) => {
    const { fallbacks: _later, attempts, ...rest } = new Scenario().state;
    const stored = { ...rest, attempts: attempts.map(({ endpoint: _too, held: _also, ...attempt }) => attempt) };
    expect(readState(JSON.stringify(stored))).toMatchObject({
      fallbacks: [],
      attempts: [{ endpoint: 'default', held: null }],
    });
  });
});
