import { describe, test } from 'vitest';
import { claimA, Scenario, policy, report, workerError } from '../../testing/scenario.ts';
import { isStillNeeded } from './effect-relevance.ts';
import { ASK_MS } from './transition.ts';
import { chargeOf } from './usage.ts';
import { wakeAt } from './clock.ts';

describe('a job that waits for a slot of its account', () => {
  test('sends no run, logs that it waits, and asks the account at once', ({ expect }) => {
    const scenario = new Scenario({ waits: true });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'admission', attempts: [] });
    expect(scenario.did('send')).toEqual([]);
    expect(scenario.did('ask_admission')).toHaveLength(1);
  });

  test('begins once when it is admitted, even after repeated notifications', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'admitted' }).on({ kind: 'admitted' });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'capacity' });
    expect(scenario.did('send')).toEqual([{ kind: 'send', attempt: 1 }]);
    expect(isStillNeeded(scenario.state, { kind: 'ask_admission' }, scenario.now)).toBe(false);
  });

  test('asks again after ASK_MS without a notification', ({ expect }) => {
    const scenario = new Scenario({ waits: true });
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + ASK_MS);
    expect(scenario.after(ASK_MS - 1).did('ask_admission')).toHaveLength(1);
    expect(scenario.after(1).did('ask_admission')).toHaveLength(2);
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + ASK_MS);
  });

  test('can be canceled, and leaves the queue', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'cancel' }).on({ kind: 'admitted' });
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('release')).toHaveLength(1);
    expect(scenario.did('send')).toEqual([]);
  });

  test('releases a slot that was granted after its end', ({ expect }) => {
    for (const has_slot of [true, false]) {
      const scenario = new Scenario({ waits: true })
        .on({ kind: 'cancel' })
        .on({ kind: 'admission_answered', has_slot });
      expect(scenario.did('release')).toHaveLength(2);
      expect(scenario.state.status).toBe('canceled');
      expect(scenario.did('send')).toEqual([]);
    }
  });

  test('keeps waiting while it is queued, and begins when it has a slot', ({ expect }) => {
    const scenario = new Scenario({ waits: true }).on({ kind: 'admission_answered', has_slot: false });
    expect(scenario.state).toMatchObject({ status: 'queued', stage: 'admission' });
    expect(scenario.on({ kind: 'admission_answered', has_slot: true }).did('send')).toHaveLength(1);
    expect(scenario.did('release')).toEqual([]);
  });

  test('expires at its deadline without a charge', ({ expect }) => {
    const scenario = new Scenario({ waits: true, price_per_second: 1 }).after(900_000).on({ kind: 'admitted' });
    expect(scenario.state.status).toBe('expired');
    expect(scenario.did('send')).toEqual([]);
    expect(chargeOf(scenario.state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });
});

describe('the charge of a finished job', () => {
  const running = () => {
    const scenario = new Scenario({ price_per_second: 0.0005 }).claimed();
    scenario.now += 10_000;
    return scenario;
  };
  const failed = (over: Parameters<typeof workerError>[0]) =>
    report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false, ...over }) });

  test('covers the time from claim to end at the price of the submit', ({ expect }) => {
    const scenario = running();
    expect(chargeOf(scenario.state)).toBeNull();
    expect(chargeOf(scenario.on(report(1, claimA, {})).state)).toEqual({ gpu_ms: 10_000, micro_usd: 5_000 });
  });

  test('includes a graph that fails and a canceled job', ({ expect }) => {
    expect(chargeOf(running().on(failed({ at: 'workflow', code: 'execution_error' })).state)?.gpu_ms).toBe(10_000);
    const canceled = running()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outcome: 'canceled' }));
    expect(chargeOf(canceled.state)?.gpu_ms).toBe(10_000);
  });

  test.for(['worker', 'provider', 'gateway'] as const)('excludes a failure at the %s', (at, { expect }) => {
    expect(chargeOf(running().on(failed({ at })).state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });

  test('excludes lost attempts', ({ expect }) => {
    const scenario = running().on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    scenario.claimed();
    scenario.now += 3_000;
    expect(chargeOf(scenario.on(report(2, claimA, {})).state)?.gpu_ms).toBe(3_000);
  });

  test('never exceeds the reservation', ({ expect }) => {
    const scenario = new Scenario({ price_per_second: 1 }).claimed();
    scenario.now += 925_000;
    expect(chargeOf(scenario.on(report(1, claimA, {})).state)).toEqual({ gpu_ms: 900_000, micro_usd: 900_000_000 });
  });
});
