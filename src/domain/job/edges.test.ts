import { describe, test } from 'vitest';
import { claimA, claimB, picture, Scenario, policy, report, worker, workerError } from '../../testing/scenario.ts';
import { wakeAt } from './clock.ts';
import type { Signal } from './signals.ts';
import { isStillNeeded } from './effect-relevance.ts';
import { stopReason } from './worker-messages.ts';

describe('a claim whose response was lost', () => {
  test('may be repeated without the worker counting as lost', ({ expect }) => {
    const ask: Signal = { kind: 'claim', attempt: 1, claim: claimA, worker };
    const scenario = new Scenario().on(ask);
    const almost = policy.channel_grace * 1000 - 1;
    for (let asked = 0; asked < 4; asked += 1) {
      scenario.after(almost).on(ask);
      expect(scenario.reply).toBe('granted');
    }
    expect(scenario.state.attempts[0]?.outcome).toBeNull();
    expect(scenario.after(almost + 1).state.attempts[0]?.outcome).toBe('lost');
  });

  test('changes nothing for a connected worker', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(scenario.state.attempts[0]?.lost_at).toBeNull();
  });
});

describe('a run for which /run never responded', () => {
  const named: Signal = { kind: 'run_named', attempt: 1, run_id: 'run-1' };
  const unknown = () => new Scenario().on({ kind: 'run_unknown', attempt: 1 });

  test('is polled after its webhook has named it, claimed or not', ({ expect }) => {
    for (const scenario of [unknown(), unknown().on({ kind: 'claim', attempt: 1, claim: claimA, worker })]) {
      const claimed = scenario.state.attempts[0]?.claim !== null;
      scenario.on(named);
      expect(scenario.did('check')).toEqual([{ kind: 'check', attempt: 1, run_id: 'run-1' }]);
      expect(scenario.state.attempts[0]).toMatchObject({
        run_id: 'run-1',
        phase: claimed ? 'claimed' : 'sent',
        due_at: null,
      });
      scenario.on(named);
      expect(scenario.reply).toBe('ignored');
    }
  });

  test('is canceled with its job after it has been named', ({ expect }) => {
    const scenario = unknown()
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker })
      .on(named)
      .on({ kind: 'cancel' });
    expect(scenario.after(policy.cancel_grace * 1000).did('cancel_run')).toEqual([
      { kind: 'cancel_run', attempt: 1, run_id: 'run-1' },
    ]);
  });

  test('wakes its job once a minute while its worker is connected', ({ expect }) => {
    const scenario = unknown().on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    scenario.on({ kind: 'channel_opened', attempt: 1, claim: claimA });
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + 60_000);
  });
});

describe('a channel that is reported closed twice', () => {
  test('does not give its worker a second grace period', ({ expect }) => {
    const closed: Signal = { kind: 'channel_closed', attempt: 1, claim: claimA };
    const scenario = new Scenario().claimed().on(closed);
    const lostAt = scenario.state.attempts[0]?.lost_at;
    scenario.now += 20_000;
    expect(scenario.on(closed).reply).toBe('ignored');
    expect(scenario.state.attempts[0]?.lost_at).toBe(lostAt);
    expect(scenario.did('check')).toHaveLength(1);
    expect(scenario.after(10_000).state.attempts[0]?.outcome).toBe('lost');
  });

  test('gives a new grace period after the worker has reconnected', ({ expect }) => {
    const closed: Signal = { kind: 'channel_closed', attempt: 1, claim: claimA };
    const scenario = new Scenario().claimed().on(closed);
    scenario.now += 20_000;
    scenario.on({ kind: 'channel_opened', attempt: 1, claim: claimA });
    scenario.now += 20_000;
    scenario.on(closed);
    expect(scenario.state.attempts[0]?.lost_at).toBe(scenario.now + policy.channel_grace * 1000);
  });
});

describe('a run that was briefly missing at RunPod', () => {
  test.for(['queued', 'running'] as const)('continues when RunPod reports "%s"', (status, { expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    scenario.on({ kind: 'run_status', attempt: 1, status: 'missing' }).after(5_000);
    scenario.on({ kind: 'run_status', attempt: 1, status }).after(20_000);
    expect(scenario.state.attempts).toHaveLength(1);
    expect(scenario.did('send')).toHaveLength(1);
  });
});

describe('a flood of RunPod webhooks', () => {
  test('polls RunPod at once, and once more afterwards', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    for (let hints = 0; hints < 100; hints += 1) {
      scenario.now += 10;
      scenario.on({ kind: 'run_hint', attempt: 1 });
    }
    expect(scenario.did('check')).toHaveLength(1);
    scenario.after(2_000);
    expect(scenario.did('check')).toHaveLength(2);
    scenario.after(2_000);
    expect(scenario.did('check')).toHaveLength(2);
  });
});

describe('worker data that is too large to store', () => {
  const long = { ...picture, type: 'text' as const, key: null, text: 'x'.repeat(16_000) };
  const many = Array.from({ length: 100 }, (_, index) => ({ ...long, name: `${index}.txt` }));

  test('ends the job with output_too_large instead of a gateway error', ({ expect }) => {
    const scenario = new Scenario().claimed().on(report(1, claimA, { outputs: many }));
    expect(scenario.reply).toBe('done');
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'output_too_large', retryable: false } });
    expect(JSON.stringify(scenario.state).length).toBeLessThan(1_600_000);
  });

  test('does not let the state grow over the channel', ({ expect }) => {
    const scenario = new Scenario().claimed();
    for (const [index, output] of many.entries()) {
      scenario.on({
        kind: 'worker_message',
        attempt: 1,
        claim: claimA,
        message: { seq: index + 1, type: 'output', output },
      });
    }
    expect(scenario.state.attempts[0]?.acked).toBe(many.length);
    expect(scenario.state.outputs.length).toBeGreaterThan(80);
    expect(JSON.stringify(scenario.state).length).toBeLessThan(1_600_000);
  });

  test('removes the details of an error, and keeps the error', ({ expect }) => {
    const error = workerError({ retryable: false, details: { node_errors: 'x'.repeat(40_000) } });
    const scenario = new Scenario().claimed().on(report(1, claimA, { outcome: 'failed', error }));
    expect(scenario.state.error).toMatchObject({ code: 'comfyui_unavailable', message: 'gone' });
    expect(scenario.state.error).not.toHaveProperty('details');
  });
});

test('a new attempt does not show the times of the previous one', ({ expect }) => {
  const scenario = new Scenario()
    .claimed()
    .on(report(1, claimA, { outcome: 'failed', error: workerError(), timings: { execution_ms: 7 } }));
  expect(scenario.state).toMatchObject({ status: 'queued', timings: {} });
});

describe('a delayed effect', () => {
  const send = { kind: 'send', attempt: 1 } as const;
  const check = { kind: 'check', attempt: 1, run_id: 'r' } as const;
  const cancelRun = { kind: 'cancel_run', attempt: 1, run_id: 'r' } as const;

  test('starts no run for an attempt that is canceled, claimed, accepted or replaced', ({ expect }) => {
    const wanted = (scenario: Scenario) => isStillNeeded(scenario.state, send, scenario.now);
    expect(wanted(new Scenario())).toBe(true);
    expect(wanted(new Scenario().on({ kind: 'cancel' }))).toBe(false);
    expect(wanted(new Scenario().on({ kind: 'claim', attempt: 1, claim: claimB, worker }))).toBe(false);
    expect(wanted(new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' }))).toBe(false);
    expect(wanted(new Scenario().on({ kind: 'run_unknown', attempt: 1 }))).toBe(false);
    expect(wanted(new Scenario().on({ kind: 'run_unknown', attempt: 1 }).after(policy.claim_grace * 1000))).toBe(false);
    expect(wanted(new Scenario().after(900_000))).toBe(false);
  });

  test('does not poll an attempt that has ended', ({ expect }) => {
    const scenario = new Scenario().claimed();
    expect(isStillNeeded(scenario.state, check, scenario.now)).toBe(true);
    scenario.on(report(1, claimA, {}));
    expect(isStillNeeded(scenario.state, check, scenario.now)).toBe(false);
  });

  test("cancels a run only until RunPod's own limit has ended it", ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'cancel' })
      .after(policy.cancel_grace * 1000);
    expect(scenario.state.status).toBe('canceled');
    expect(isStillNeeded(scenario.state, cancelRun, scenario.state.deadline)).toBe(true);
    expect(isStillNeeded(scenario.state, cancelRun, scenario.state.deadline + 86_400_000)).toBe(false);
  });

  test('is always carried out when it reports the end of the job', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'cancel' });
    expect(isStillNeeded(scenario.state, { kind: 'project' }, Infinity)).toBe(true);
    expect(isStillNeeded(scenario.state, { kind: 'release' }, Infinity)).toBe(true);
  });
});

describe('a worker that reconnects', () => {
  test('must stop after a cancel or the deadline', ({ expect }) => {
    const scenario = new Scenario().claimed();
    expect(stopReason(scenario.state, scenario.now)).toBeNull();
    expect(stopReason(scenario.state, scenario.state.deadline)).toBe('deadline');
    expect(stopReason(scenario.on({ kind: 'cancel' }).state, scenario.now)).toBe('client');
    expect(stopReason(scenario.on(report(1, claimA, { outcome: 'canceled' })).state, scenario.now)).toBeNull();
  });
});
