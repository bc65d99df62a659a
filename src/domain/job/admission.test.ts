import { describe, test } from 'vitest';
import { claimA, Scenario, policy, report, workerError } from '../../testing/scenario.ts';
import { stillWanted } from './effect-relevance.ts';
import { ASK_MS } from './transition.ts';
import { usedBy } from './usage.ts';
import { wakeAt } from './clock.ts';

describe('a job that waits for its account', () => {
  test('sends nothing, says that it waits, and asks at once whether it may begin', ({ expect }) => {
    const scenario = new Scenario({ waits: true });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'admission', attempts: [] });
    expect(scenario.did('send')).toEqual([]);
    expect(scenario.did('ask_admission')).toHaveLength(1);
  });

  test('begins once when it is let in, however often it is told', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'admitted' }).on({ kind: 'admitted' });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'capacity' });
    expect(scenario.did('send')).toEqual([{ kind: 'send', attempt: 1 }]);
    expect(stillWanted(scenario.state, { kind: 'ask_admission' }, scenario.now)).toBe(false);
  });

  test('asks again when it has heard nothing for a while', ({ expect }) => {
    const scenario = new Scenario({ waits: true });
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + ASK_MS);
    expect(scenario.after(ASK_MS - 1).did('ask_admission')).toHaveLength(1);
    expect(scenario.after(1).did('ask_admission')).toHaveLength(2);
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + ASK_MS);
  });

  test('can be canceled, and gives its place in the line back', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'cancel' }).on({ kind: 'admitted' });
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('release')).toHaveLength(1);
    expect(scenario.did('send')).toEqual([]);
  });

  test('gives back what a question brought that was answered after its end', ({ expect }) => {
    for (const mine of [true, false]) {
      const scenario = new Scenario({ waits: true }).on({ kind: 'cancel' }).on({ kind: 'asked', mine });
      expect(scenario.did('release')).toHaveLength(2);
      expect(scenario.state.status).toBe('canceled');
      expect(scenario.did('send')).toEqual([]);
    }
  });

  test('goes on waiting when the answer is that it is in line, and begins when it is not', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'asked', mine: false });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'admission' });
    expect(scenario.on({ kind: 'asked', mine: true }).did('send')).toHaveLength(1);
    expect(scenario.did('release')).toEqual([]);
  });

  test('expires at its deadline, for nothing', ({ expect }) => {
    const scenario = new Scenario({ waits: true, price_per_second: 1 }).after(900_000).on({ kind: 'admitted' });
    expect(scenario.state.status).toBe('expired');
    expect(scenario.did('send')).toEqual([]);
    expect(usedBy(scenario.state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });
});

describe('a job that is over is charged', () => {
  const running = () => {
    const scenario = new Scenario({ price_per_second: 0.0005 }).claimed();
    scenario.now += 10_000;
    return scenario;
  };
  const failed = (over: Parameters<typeof workerError>[0]) =>
    report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false, ...over }) });

  test('from claim to end, at the price it was submitted at; before its end nothing is said', ({ expect }) => {
    const scenario = running();
    expect(usedBy(scenario.state)).toBeNull();
    expect(usedBy(scenario.on(report(1, claimA, {})).state)).toEqual({ gpu_ms: 10_000, micro_usd: 5_000 });
  });

  test('for a graph that fails, and for a cancel', ({ expect }) => {
    expect(usedBy(running().on(failed({ at: 'workflow', code: 'execution_error' })).state)?.gpu_ms).toBe(10_000);
    const canceled = running()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outcome: 'canceled' }));
    expect(usedBy(canceled.state)?.gpu_ms).toBe(10_000);
  });

  test.for(['worker', 'provider', 'gateway'] as const)('nothing for a failure at the %s', (at, { expect }) => {
    expect(usedBy(running().on(failed({ at })).state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });

  test('nothing for an attempt that was lost, only for the one that counted', ({ expect }) => {
    const scenario = running().on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    scenario.claimed();
    scenario.now += 3_000;
    expect(usedBy(scenario.on(report(2, claimA, {})).state)?.gpu_ms).toBe(3_000);
  });

  test('never more than was reserved', ({ expect }) => {
    const scenario = new Scenario({ price_per_second: 1 }).claimed();
    scenario.now += 925_000;
    expect(usedBy(scenario.on(report(1, claimA, {})).state)).toEqual({ gpu_ms: 900_000, micro_usd: 900_000_000 });
  });
});
