import { describe, test } from 'vitest';
import {
  claimA,
  claimB,
  Scenario,
  policy,
  report,
  SILENT_WORKER,
  worker,
  workerError,
} from '../../testing/scenario.ts';
import { currentAttempt, readState } from './state.ts';
import { chargeOf } from './usage.ts';

/** GPU time that a job is charged for when its graph executed and nothing of the client's ended the attempt. */

const stage = (scenario: Scenario, name: 'models' | 'executing' | 'uploading', claim = claimA): Scenario => {
  const attempt = scenario.state.attempts.length;
  const seq = (currentAttempt(scenario.state)?.acked ?? 0) + 1;
  return scenario.on({ kind: 'worker_message', attempt, claim, message: { seq, type: 'stage', stage: name } });
};
const pass = (scenario: Scenario, ms: number): Scenario => {
  scenario.now += ms;
  return scenario;
};
/** 3 s with a GPU before the graph, then 5 s of the graph. */
const executing = (): Scenario =>
  pass(stage(pass(new Scenario({ price_per_second: 0.001 }).claimed(), 3_000), 'executing'), 5_000);
const failedAt = (timings: Record<string, number>, attempt = 1, claim = claimA) =>
  report(attempt, claim, { outcome: 'failed', error: workerError({ retryable: false }), timings });
const gpuMs = (scenario: Scenario): number | undefined => chargeOf(scenario.state)?.gpu_ms;

describe('a graph that executed before the worker failed', () => {
  test('costs the time that the worker reports', ({ expect }) => {
    expect(chargeOf(executing().on(failedAt({ execution_ms: 4_500 })).state)).toEqual({
      gpu_ms: 4_500,
      micro_usd: 4_500,
    });
  });

  test("costs the time between the worker's stages when its report has none", ({ expect }) => {
    const scenario = pass(stage(executing(), 'uploading'), 2_000);
    expect(gpuMs(scenario.on(failedAt({})))).toBe(5_000);
  });

  test('costs at most the time since the claim', ({ expect }) => {
    expect(gpuMs(executing().on(failedAt({ execution_ms: 1e12 })))).toBe(8_000);
  });

  test('costs its time in each attempt', ({ expect }) => {
    const scenario = executing().on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    stage(scenario.claimed(claimB), 'executing', claimB);
    expect(gpuMs(pass(scenario, 2_000).on(failedAt({}, 2, claimB)))).toBe(7_000);
  });

  test('costs its time until the connection of a lost worker broke', ({ expect }) => {
    const scenario = executing().on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    scenario.after(policy.channel_grace * 1000);
    expect(scenario.state.attempts[0]).toMatchObject({ outcome: 'lost' });
    expect(gpuMs(scenario.on({ kind: 'cancel' }))).toBe(5_000);
  });

  test('includes the time after a reconnect', ({ expect }) => {
    const scenario = executing().on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    pass(scenario, 1_000).on({ kind: 'channel_opened', attempt: 1, claim: claimA });
    pass(scenario, 2_000).on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    scenario.after(policy.channel_grace * 1000).on({ kind: 'cancel' });
    expect(gpuMs(scenario)).toBe(7_000);
  });

  test('costs its time when the run is stopped at RunPod', ({ expect }) => {
    const scenario = executing().on({ kind: 'run_status', attempt: 1, status: 'canceled' }).after(10_000);
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'provider_failed' } });
    expect(gpuMs(scenario)).toBe(15_000);
  });
});

describe('a worker that failed before the graph executed', () => {
  test('costs nothing', ({ expect }) => {
    const scenario = pass(stage(new Scenario().claimed(), 'models'), 60_000);
    expect(gpuMs(scenario.on(failedAt({ execution_ms: 0 })))).toBe(0);
  });
});

describe('a run without claims that failed at the worker', () => {
  const running = () =>
    pass(
      new Scenario({ worker: SILENT_WORKER })
        .on({ kind: 'routed', attempt: 1, endpoint: 'default' })
        .on({ kind: 'run_accepted', attempt: 1, run_id: 'run-1' })
        .on({ kind: 'run_status', attempt: 1, status: 'running' }),
      20_000,
    );
  const news = (execution_ms: number | null) => ({ delay_ms: null, execution_ms, worker: null, progress: null });
  const over = (scenario: Scenario, error: { ran?: false }) =>
    scenario.on({ kind: 'run_status', attempt: 1, status: 'failed', news: news(12_000) }).on({
      kind: 'run_result',
      attempt: 1,
      result: { outputs: [], error: { ...workerError({ retryable: false }), ...error }, warnings: [], moved_ms: 1 },
    });

  test('costs the time that RunPod measures', ({ expect }) => {
    expect(gpuMs(over(running(), {}))).toBe(12_000);
  });

  test('costs nothing when the error says that the graph did not begin', ({ expect }) => {
    expect(gpuMs(over(running(), { ran: false }))).toBe(0);
  });

  test('costs the time until RunPod last reported it running, when RunPod forgets the run', ({ expect }) => {
    const scenario = running().on({ kind: 'run_status', attempt: 1, status: 'running', news: news(null) });
    pass(scenario, 5_000).on({ kind: 'run_status', attempt: 1, status: 'missing' });
    expect(scenario.after(10_000).state).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } });
    expect(gpuMs(scenario)).toBe(20_000);
  });
});

test('an attempt that was stored without an executed time counts as not executed', ({ expect }) => {
  const { attempts, ...rest } = new Scenario().on({ kind: 'claim', attempt: 1, claim: claimA, worker }).state;
  const stored = { ...rest, attempts: attempts.map(({ executing_since: _since, executed_ms: _ms, ...old }) => old) };
  expect(readState(JSON.stringify(stored)).attempts).toMatchObject([{ executing_since: null, executed_ms: 0 }]);
});
