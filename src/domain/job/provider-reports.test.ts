import * as fc from 'fast-check';
import { describe, test } from 'vitest';
import { isTerminal, NEXT_STATUSES, type Status } from '../../contract/job.ts';
import type { RunNews, RunResult, RunStatus } from '../../contract/run.ts';
import { claimA, picture, Scenario, policy, report, SILENT_WORKER, START, worker } from '../../testing/scenario.ts';
import { wakeAt } from './clock.ts';
import type { Signal } from './signals.ts';
import { currentAttempt, readState } from './state.ts';
import { chargeOf } from './usage.ts';

const quiet: RunNews = { delay_ms: null, execution_ms: null, worker: null, progress: null };
const says = (status: RunStatus, news: Partial<RunNews> = {}, attempt = 1): Signal =>
  status === 'missing' || status === 'unreachable'
    ? { kind: 'run_status', attempt, status }
    : { kind: 'run_status', attempt, status, news: { ...quiet, ...news } };
const result = (over: Partial<RunResult> = {}, attempt = 1): Signal => ({
  kind: 'run_result',
  attempt,
  result: { outputs: [picture], error: null, warnings: [], moved_ms: 40, ...over },
});

const failure = { code: 'execution_error', message: 'no', at: 'workflow', retryable: false } as const;
const passing = { code: 'worker_lost', message: 'gone', at: 'worker', retryable: true } as const;

/** A job whose run RunPod has taken. */
const sent = (over: ConstructorParameters<typeof Scenario>[0] = {}): Scenario =>
  new Scenario({ worker: SILENT_WORKER, ...over }).on({ kind: 'run_accepted', attempt: 1, run_id: 'run-1' });
const running = (over: ConstructorParameters<typeof Scenario>[0] = {}): Scenario =>
  sent(over).on(says('running', { worker: { id: 'w7', version: 'v1' } }));

describe('a successful run', () => {
  test('is queued, running, then succeeded when its results are in R2', ({ expect }) => {
    const scenario = sent()
      .on(says('queued'))
      .on(says('running', { worker: { id: 'w7', version: 'v1' } }));
    expect(scenario.state).toMatchObject({
      status: 'running',
      stage: 'executing',
      attempts: [{ worker: { id: 'w7' } }],
    });
    scenario.on(says('completed', { execution_ms: 4_000 }));
    expect(scenario.state).toMatchObject({ status: 'running', stage: 'uploading' });
    expect(scenario.did('fetch_result')).toEqual([{ kind: 'fetch_result', attempt: 1, run_id: 'run-1' }]);
    scenario.on(result());
    expect(scenario.state).toMatchObject({
      status: 'succeeded',
      outputs: [picture],
      timings: { execution_ms: 4_000, upload_ms: 40 },
    });
    expect(scenario.statuses()).toEqual(['queued', 'running', 'running', 'succeeded']);
    expect(scenario.did('cancel_run')).toEqual([]);
    expect(scenario.did('stop_worker')).toEqual([]);
  });

  test('counts as started when its GPU time began, even when no poll saw it running', ({ expect }) => {
    const scenario = sent();
    scenario.now += 9_000;
    scenario.on(says('completed', { execution_ms: 2_500 }));
    expect(scenario.state.started_at).toBe(START + 6_500);
    expect(scenario.statuses()).toContain('running');
  });

  test('counts as started at the time that RunPod reports, even after a late poll', ({ expect }) => {
    const scenario = sent();
    scenario.now += 9_000;
    scenario.on(says('running', { delay_ms: 3_000 }));
    expect(scenario.state.started_at).toBe(START + 3_000);
    const odd = sent();
    odd.now += 2_000;
    odd.on(says('running', { delay_ms: 50_000 }));
    expect(odd.state.started_at).toBe(odd.now);
  });

  test('fetches its results once, even when RunPod reports its end repeatedly', ({ expect }) => {
    const scenario = running().on(says('completed')).on(says('completed')).on({ kind: 'run_hint', attempt: 1 });
    expect(scenario.did('fetch_result')).toHaveLength(1);
  });

  test('accepts its results once', ({ expect }) => {
    const scenario = running().on(says('completed')).on(result());
    const events = scenario.events.length;
    scenario.on(result());
    expect(scenario.reply).toBe('ignored');
    expect(scenario.events).toHaveLength(events);
  });

  test("logs the worker's other messages", ({ expect }) => {
    const scenario = running()
      .on(says('completed'))
      .on(result({ warnings: ['one file was skipped'] }));
    expect(scenario.events).toContainEqual(
      expect.objectContaining({ event: 'log', data: expect.objectContaining({ message: 'one file was skipped' }) }),
    );
  });

  test('is charged for the time that RunPod measures, not until the next poll', ({ expect }) => {
    const scenario = running({ price_per_second: 0.001 });
    scenario.now += 20_000;
    scenario.on(says('completed', { execution_ms: 12_000 })).on(result());
    expect(chargeOf(scenario.state)).toEqual({ gpu_ms: 12_000, micro_usd: 12_000 });
  });
});

describe('polls of the status', () => {
  test('come soon at first, then later each time, and soon again after a change', ({ expect }) => {
    const scenario = sent();
    const waits: number[] = [];
    const wait = (status: RunStatus): void => {
      const at = scenario.now;
      scenario.on(says(status));
      waits.push((currentAttempt(scenario.state)?.check_at ?? 0) - at);
    };
    for (const status of ['queued', 'queued', 'queued', 'queued', 'queued', 'queued', 'queued'] as const) {
      wait(status);
    }
    expect(waits).toEqual(waits.toSorted((a, b) => a - b));
    expect(waits.at(-1)).toBe(10_000);
    wait('running');
    expect(waits.at(-1)).toBe(1_000);
  });

  test('are started by the alarm at the time of the machine', ({ expect }) => {
    const scenario = sent();
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(START + 1_000);
    scenario.after(1_000);
    expect(scenario.did('check')).toEqual([{ kind: 'check', attempt: 1, run_id: 'run-1' }]);
  });
});

describe('start_within', () => {
  test('is preceded by a poll', ({ expect }) => {
    const scenario = sent({ start_deadline: START + 20_000 });
    for (let at = scenario.now; at < START + 19_000; at = scenario.now) {
      scenario.now = currentAttempt(scenario.state)?.check_at ?? Infinity;
      scenario.on({ kind: 'clock' }).on(says('queued'));
    }
    expect(scenario.now).toBe(START + 19_000);
    scenario.on(says('running'));
    scenario.now = START + 20_000;
    expect(scenario.on({ kind: 'clock' }).state.status).toBe('running');
  });

  test('expires a job that has not started, and cancels its run', ({ expect }) => {
    const scenario = sent({ start_deadline: START + 20_000 })
      .on(says('queued'))
      .after(20_000);
    expect(scenario.state.status).toBe('expired');
    expect(scenario.did('cancel_run')).toHaveLength(1);
  });
});

describe('progress that a worker sends to RunPod', () => {
  const reported = { nodes_done: 1, nodes_total: 4, current_node: '5', current_node_class: null, step: 3, steps: 20 };

  test('is shown, never decreases, and is not repeated', ({ expect }) => {
    const scenario = running()
      .on(says('running', { progress: { value: 0.5, stage: null, ...reported } }))
      .on(says('running', { progress: { value: 0.5, stage: null, ...reported } }))
      .on(says('running', { progress: { value: 0.2, stage: null, ...reported, step: 4 } }));
    const shown = [...scenario.events, ...scenario.live].flatMap((event) =>
      event.event === 'progress' ? [event.data] : [],
    );
    expect(shown.map(({ value, step }) => [value, step])).toEqual([
      [0.5, 3],
      [0.5, 4],
    ]);
    expect(scenario.durable).toBe(true);
  });

  test('may name a stage, except those before a worker has the job', ({ expect }) => {
    const nothing = { ...reported, value: null, current_node: null, step: null, steps: null };
    const scenario = running().on(says('running', { progress: { ...nothing, stage: 'models' } }));
    expect(scenario.state.stage).toBe('models');
    scenario.on(says('running', { progress: { ...nothing, stage: 'capacity' } }));
    expect(scenario.state.stage).toBe('executing');
  });
});

describe('a run that fails', () => {
  test('ends the job with the worker’s error, and keeps its outputs', ({ expect }) => {
    const scenario = running()
      .on(says('failed'))
      .on(result({ error: failure }));
    expect(scenario.state).toMatchObject({
      status: 'failed',
      error: { code: 'execution_error', at: 'workflow', attempt: 1 },
      outputs: [picture],
    });
  });

  test('is retried up to the limit of attempts when the error is retryable', ({ expect }) => {
    const scenario = running()
      .on(says('failed'))
      .on(result({ error: passing, outputs: [] }));
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{ outcome: 'failed' }, { phase: 'sending' }] });
    scenario
      .on({ kind: 'run_accepted', attempt: 2, run_id: 'run-2' })
      .on(says('running', {}, 2))
      .on(says('failed', {}, 2));
    scenario.on(result({ error: passing, outputs: [] }, 2));
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'worker_lost', attempt: 2 } });
  });

  test('becomes a timeout, or no_capacity when no worker ever had it, after its time limit', ({ expect }) => {
    expect(running().on(says('timed_out')).state.error?.code).toBe('timeout');
    expect(sent().on(says('timed_out')).state.error?.code).toBe('no_capacity');
  });

  test('fails the job, or cancels it before its start, when it was canceled at RunPod', ({ expect }) => {
    expect(running().on(says('canceled')).state).toMatchObject({
      status: 'failed',
      error: { code: 'provider_failed' },
    });
    expect(sent().on(says('canceled')).state.status).toBe('canceled');
  });
});

describe('a run that RunPod does not know', () => {
  test('gets a short wait, because a replica may not know it yet', ({ expect }) => {
    const scenario = sent().on(says('missing')).on(says('queued'));
    scenario.now += 60_000;
    scenario.on({ kind: 'clock' });
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{ phase: 'sent' }] });
  });

  test('is lost and not repeated after a worker had it', ({ expect }) => {
    const scenario = running().on(says('missing')).after(10_000);
    expect(scenario.state).toMatchObject({
      status: 'failed',
      error: { code: 'worker_lost' },
      attempts: [{ outcome: 'lost' }],
    });
  });

  test('is sent again before any worker had it', ({ expect }) => {
    const scenario = sent().on(says('missing')).after(10_000);
    expect(scenario.did('send')).toHaveLength(2);
    // Nothing fences the first one off: should RunPod have it after all, it is not to run beside the second.
    expect(scenario.did('cancel_run')).toMatchObject([{ attempt: 1 }]);
  });

  test('is lost at once while its results are fetched', ({ expect }) => {
    const scenario = running().on(says('completed')).on(says('missing'));
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } });
  });
});

describe('an endpoint without workers, while another would accept the run', () => {
  const starved: Signal = {
    kind: 'run_status',
    attempt: 1,
    status: 'queued',
    news: quiet,
    waits_for: { stage: 'capacity', no_workers: true, elsewhere: true },
  };

  test('loses the run only after RunPod has canceled it, so that it cannot run twice', ({ expect }) => {
    const scenario = sent().on(starved).on(starved);
    expect(scenario.did('cancel_run')).toHaveLength(1);
    expect(scenario.did('send')).toHaveLength(1);
    scenario.on(says('canceled'));
    expect(scenario.did('send')).toHaveLength(2);
    expect(scenario.state).toMatchObject({
      status: 'queued',
      attempts: [{ outcome: 'superseded' }, { phase: 'sending' }],
    });
  });

  test("keeps the run's result when a worker starts in time", ({ expect }) => {
    const scenario = sent().on(starved).on(says('completed')).on(result());
    expect(scenario.state).toMatchObject({ status: 'succeeded' });
    expect(scenario.did('send')).toHaveLength(1);
  });

  test('loses a run to the other endpoint when it had started before the cancel', ({ expect }) => {
    const scenario = sent().on(starved).on(says('running')).on(says('canceled'));
    expect(scenario.state).toMatchObject({
      status: 'queued',
      attempts: [{ outcome: 'superseded' }, { phase: 'sending' }],
    });
  });

  test('loses the run permanently by a client’s cancel', ({ expect }) => {
    expect(sent().on(starved).on({ kind: 'cancel' }).on(says('canceled')).state.status).toBe('canceled');
  });
});

describe('results that cannot be moved', () => {
  test('are retried until their time limit', ({ expect }) => {
    const scenario = running().on(says('completed')).after(299_999);
    expect(scenario.state.stage).toBe('uploading');
    scenario.after(1);
    expect(scenario.state.attempts[0]).toMatchObject({ outcome: 'lost', error: { code: 'upload_failed' } });
  });

  test('are fetched at the end of a run that continues after all', ({ expect }) => {
    const scenario = running().on(says('completed')).on(says('running')).on(result());
    expect(scenario.reply).toBe('ignored');
    scenario.on(says('completed'));
    expect(scenario.did('fetch_result')).toHaveLength(2);
  });
});

describe('an unknown outcome of /run', () => {
  const unknown = (): Scenario =>
    new Scenario({ worker: SILENT_WORKER })
      .on({ kind: 'routed', attempt: 1, endpoint: 'default' })
      .on({ kind: 'run_unknown', attempt: 1 });

  test('fails the job, because no claim could fence off a second run', ({ expect }) => {
    const scenario = unknown().after(policy.claim_grace * 1000 - 1);
    expect(scenario.state.status).toBe('queued');
    scenario.after(1);
    expect(scenario.state).toMatchObject({
      status: 'failed',
      error: { code: 'provider_failed', retryable: false },
      attempts: [{ outcome: 'lost' }],
    });
    expect(scenario.did('send')).toHaveLength(1);
  });

  test('is settled by a webhook that names the run, which is then polled', ({ expect }) => {
    const scenario = unknown().on({ kind: 'run_named', attempt: 1, run_id: 'run-1' });
    expect(scenario.did('check')).toEqual([{ kind: 'check', attempt: 1, run_id: 'run-1' }]);
    scenario
      .after(policy.claim_grace * 1000)
      .on(says('completed'))
      .on(result());
    expect(scenario.state).toMatchObject({ status: 'succeeded', attempts: [{ run_id: 'run-1' }] });
  });

  test('does not arise when a webhook arrives before or instead of the response', ({ expect }) => {
    const called = (): Scenario =>
      new Scenario({ worker: SILENT_WORKER })
        .on({ kind: 'routed', attempt: 1, endpoint: 'default' })
        .on({ kind: 'run_named', attempt: 1, run_id: 'run-1' });
    for (const answer of [
      { kind: 'run_accepted', attempt: 1, run_id: 'run-1' },
      { kind: 'run_unknown', attempt: 1 },
    ] as const) {
      const scenario = called().on(answer).on(says('completed')).on(result());
      expect(scenario.state).toMatchObject({ status: 'succeeded', attempts: [{ run_id: 'run-1' }] });
    }
  });

  test('is settled when the run is known, and another id changes nothing', ({ expect }) => {
    for (const scenario of [sent(), running(), unknown().on({ kind: 'cancel' })]) {
      const before = structuredClone(scenario.state);
      scenario.on({ kind: 'run_named', attempt: 1, run_id: 'run-x' });
      expect(scenario.reply).toBe('ignored');
      expect(scenario.state).toEqual(before);
    }
  });

  test('is repeated when the gateway crashed before the call', ({ expect }) => {
    const scenario = new Scenario({ worker: SILENT_WORKER }).on({ kind: 'run_unknown', attempt: 1 });
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{ phase: 'sending' }] });
    expect(scenario.did('send')).toEqual([
      { kind: 'send', attempt: 1 },
      { kind: 'send', attempt: 1 },
    ]);
  });

  test('does not carry over from a refused call to the next one', ({ expect }) => {
    const scenario = new Scenario({ worker: SILENT_WORKER })
      .on({ kind: 'routed', attempt: 1, endpoint: 'default' })
      .on({ kind: 'run_refused', attempt: 1, retryable: true, code: 'no_capacity', message: '', retry_after_ms: null })
      .on({ kind: 'run_unknown', attempt: 1 });
    expect(scenario.state.status).toBe('queued');
  });
});

describe('a cancel', () => {
  test('ends a waiting job at once and cancels the run', ({ expect }) => {
    const scenario = sent().on({ kind: 'cancel' });
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('cancel_run')).toHaveLength(1);
  });

  test('cancels the run of a running job at once, and ends when RunPod confirms it', ({ expect }) => {
    const scenario = running().on({ kind: 'cancel' });
    expect(scenario.state.status).toBe('canceling');
    expect(scenario.did('cancel_run')).toHaveLength(1);
    scenario.on(says('canceled'));
    expect(scenario.state).toMatchObject({ status: 'canceled', error: null, attempts: [{ outcome: 'canceled' }] });
  });

  test('ends after its grace period when RunPod does not confirm it', ({ expect }) => {
    const scenario = running().on({ kind: 'cancel' }).on(says('unreachable'));
    expect(scenario.after(policy.cancel_grace * 1000).state.status).toBe('canceled');
  });

  test('keeps the result when it crosses the end', ({ expect }) => {
    const scenario = running().on({ kind: 'cancel' }).on(says('completed')).on(result());
    expect(scenario.state).toMatchObject({ status: 'succeeded', outputs: [picture] });
  });

  test('counts as a cancel when it crosses a failure', ({ expect }) => {
    const scenario = running()
      .on({ kind: 'cancel' })
      .on(says('failed'))
      .on(result({ error: passing }));
    expect(scenario.state.status).toBe('canceled');
  });
});

describe('the deadline', () => {
  test('stops a running job at once, because the worker does not know it', ({ expect }) => {
    const scenario = running().after(900_000);
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
    expect(scenario.did('cancel_run')).toHaveLength(1);
    expect(scenario.did('stop_worker')).toEqual([]);
  });

  test('gives a grace period to results that are being fetched', ({ expect }) => {
    const scenario = running({ deadline: START + 60_000 })
      .on(says('completed'))
      .after(60_000);
    expect(scenario.state.stage).toBe('uploading');
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(START + 60_000 + policy.deadline_grace * 1000);
    expect(scenario.after(policy.deadline_grace * 1000).state).toMatchObject({
      status: 'failed',
      error: { code: 'timeout' },
    });
  });

  test('expires a job that has not started', ({ expect }) => {
    expect(sent().after(900_000).state.status).toBe('expired');
  });
});

test('a claim is rejected for a worker without tickets', ({ expect }) => {
  expect(sent().on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('finished');
  expect(running().on(report(1, claimA, {})).reply).not.toBe('done');
});

test('a job that was stored without a worker kind uses worker-gpu', ({ expect }) => {
  const { worker: _later, attempts, ...rest } = new Scenario().state;
  const stored = {
    ...rest,
    attempts: attempts.map(
      ({ called: _c, leaving: _v, looks: _l, moving: _m, execution_ms: _e, ...attempt }) => attempt,
    ),
  };
  expect(readState(JSON.stringify(stored))).toMatchObject({
    worker: 'worker-gpu',
    attempts: [{ looks: 0, moving: false, execution_ms: null }],
  });
});

describe('any RunPod statuses in any order', () => {
  const STATUSES: RunStatus[] = [
    'queued',
    'running',
    'completed',
    'failed',
    'canceled',
    'timed_out',
    'missing',
    'unreachable',
  ];
  const steps = fc.array(
    fc.oneof(
      fc
        .record({ status: fc.constantFrom(...STATUSES), attempt: fc.integer({ min: 1, max: 3 }) })
        .map((each) => says(each.status, {}, each.attempt)),
      fc.integer({ min: 1, max: 3 }).map((attempt) => result({}, attempt)),
      fc.integer({ min: 1, max: 3 }).map((attempt) => result({ error: passing, outputs: [] }, attempt)),
      fc
        .integer({ min: 1, max: 3 })
        .map((attempt): Signal => ({ kind: 'run_accepted', attempt, run_id: `run-${attempt}` })),
      fc.constantFrom<Signal>(
        { kind: 'cancel' },
        { kind: 'run_hint', attempt: 1 },
        { kind: 'routed', attempt: 1, endpoint: 'default' },
        { kind: 'run_named', attempt: 1, run_id: 'run-n' },
      ),
      fc.integer({ min: 0, max: 400_000 }),
    ),
    { maxLength: 30 },
  );

  test('end the job once by its deadline and grace period, with one run per attempt', ({ expect }) => {
    fc.assert(
      fc.property(steps, (signals) => {
        const scenario = new Scenario({ worker: SILENT_WORKER });
        for (const each of signals) {
          if (typeof each === 'number') {
            scenario.after(each);
          } else {
            scenario.on(each);
          }
        }
        scenario.now = Math.max(scenario.now, scenario.state.deadline + policy.deadline_grace * 1000);
        scenario.on({ kind: 'clock' });
        expect(isTerminal(scenario.state.status)).toBe(true);
        expect(scenario.statuses().filter((status) => isTerminal(status as 'failed'))).toHaveLength(1);
        expect(wakeAt(scenario.state, policy, scenario.now)).toBeNull();
        const sends = scenario.did('send').map((effect) => JSON.stringify(effect));
        expect(new Set(sends).size).toBe(sends.length);
        expect(scenario.did('stop_worker')).toEqual([]);
        const words = scenario.events.flatMap((event) => (event.event === 'status' ? [event.data.status] : []));
        for (const [at, word] of words.entries()) {
          const next = words[at + 1];
          const may: readonly Status[] = NEXT_STATUSES[word];
          expect(next === undefined || next === word || may.includes(next)).toBe(true);
        }
      }),
    );
  });
});
