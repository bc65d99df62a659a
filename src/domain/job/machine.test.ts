import * as fc from 'fast-check';
import { describe, test } from 'vitest';
import { isTerminal } from '../../contract/job.ts';
import {
  claimA,
  claimB,
  picture,
  Scenario,
  policy,
  report,
  START,
  worker,
  workerError,
} from '../../testing/scenario.ts';
import { randomScenarios } from '../../testing/random-scenarios.ts';
import { wakeAt } from './clock.ts';
import { FIRST_CHECK_MS } from './run-accepted.ts';
import type { Signal } from './signals.ts';
import { currentAttempt } from './state.ts';
import { MAX_ATTEMPTS } from './transition.ts';
import { chargeOf } from './usage.ts';

describe('a successful job', () => {
  test('runs from queued to succeeded and releases its slot once', ({ expect }) => {
    const scenario = new Scenario().claimed().on(report(1, claimA, { outputs: [picture] }));
    expect(scenario.state).toMatchObject({ status: 'succeeded', stage: null, outputs: [picture], error: null });
    expect(scenario.statuses()).toEqual(['queued', 'running', 'succeeded']);
    expect(scenario.did('send')).toHaveLength(1);
    expect(scenario.did('release')).toHaveLength(1);
    expect(scenario.did('cancel_run')).toEqual([]);
  });

  test('accepts a repeated report with the same reply', ({ expect }) => {
    const scenario = new Scenario().claimed().on(report(1, claimA, {}));
    const events = scenario.events.length;
    scenario.on(report(1, claimA, {}));
    expect(scenario.reply).toBe('done');
    expect(scenario.events).toHaveLength(events);
  });

  test('logs an output that the channel lost, and none twice', ({ expect }) => {
    const scenario = new Scenario().claimed();
    scenario.on({
      kind: 'worker_message',
      attempt: 1,
      claim: claimA,
      message: { seq: 1, type: 'output', output: picture },
    });
    const second = { ...picture, name: 'b.png' };
    scenario.on(report(1, claimA, { outputs: [picture, second] }));
    expect(scenario.events.filter((event) => event.event === 'output').map((event) => event.data.name)).toEqual([
      't_00001_.png',
      'b.png',
    ]);
  });
});

describe('a claim', () => {
  test('succeeds once, and is rejected for a second delivery of the ticket', ({ expect }) => {
    const scenario = new Scenario().claimed();
    expect(scenario.on({ kind: 'claim', attempt: 1, claim: claimB, worker }).reply).toBe('claimed_elsewhere');
    expect(scenario.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('granted');
  });

  test('is granted even before /run has responded', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(scenario.reply).toBe('granted');
    scenario.on({ kind: 'run_accepted', attempt: 1, run_id: 'late' });
    expect(currentAttempt(scenario.state)).toMatchObject({ phase: 'claimed', run_id: 'late' });
  });

  test('is rejected after a cancel, after the deadline, and for an older attempt', ({ expect }) => {
    expect(new Scenario().on({ kind: 'cancel' }).on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe(
      'finished',
    );
    const expired = new Scenario();
    expired.now = expired.state.deadline;
    expect(expired.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('finished');
    const retried = new Scenario().on({ kind: 'run_unknown', attempt: 1 }).after(policy.claim_grace * 1000);
    expect(retried.state.attempts).toHaveLength(2);
    expect(retried.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('finished');
  });
});

describe('/run', () => {
  test('is not repeated after an unknown outcome: a new attempt fences it off', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_unknown', attempt: 1 });
    scenario.after(policy.claim_grace * 1000 - 1);
    expect(scenario.did('send')).toHaveLength(1);
    scenario.after(1);
    expect(scenario.did('send')).toEqual([
      { kind: 'send', attempt: 1 },
      { kind: 'send', attempt: 2 },
    ]);
    expect(scenario.state.attempts[0]).toMatchObject({ phase: 'finished', outcome: 'superseded' });
  });

  test('continues after an unknown outcome when a worker claims the run', ({ expect }) => {
    const scenario = new Scenario()
      .on({ kind: 'run_unknown', attempt: 1 })
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(scenario.reply).toBe('granted');
    expect(scenario.after(1_000).did('send')).toHaveLength(1);
  });

  test('is repeated with growing delays after a temporary refusal', ({ expect }) => {
    const refused: Signal = {
      kind: 'run_refused',
      attempt: 1,
      retryable: true,
      code: 'no_capacity',
      message: '',
      retry_after_ms: null,
    };
    const scenario = new Scenario().on(refused);
    expect(scenario.after(999).did('send')).toHaveLength(1);
    expect(scenario.after(1).did('send')).toHaveLength(2);
    scenario.on(refused);
    expect(scenario.after(1_999).did('send')).toHaveLength(2);
    expect(scenario.after(1).did('send')).toHaveLength(3);
    expect(scenario.state.attempts).toHaveLength(1);
  });

  test.for([
    ['as long as it asks for', 90_000, 90_000],
    ['no longer than two minutes', 86_400_000, 120_000],
  ] as const)('refused for now with a Retry-After waits %s', ([, retry_after_ms, waited], { expect }) => {
    const refused = { kind: 'run_refused', attempt: 1, retryable: true, code: 'no_capacity', message: '' } as const;
    const scenario = new Scenario().on({ ...refused, retry_after_ms });
    expect(scenario.after(waited - 1).did('send')).toHaveLength(1);
    expect(scenario.after(1).did('send')).toHaveLength(2);
  });

  test('fails the job after a permanent refusal', ({ expect }) => {
    const scenario = new Scenario().on({
      kind: 'run_refused',
      attempt: 1,
      retryable: false,
      code: 'provider_refused',
      message: 'no',
      retry_after_ms: null,
    });
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'provider_refused', at: 'provider' } });
  });

  test('is never called for more than MAX_SENDS attempts', ({ expect }) => {
    const scenario = new Scenario({ deadline: START + 86_400_000 });
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      scenario.on({ kind: 'run_unknown', attempt }).after(policy.claim_grace * 1000);
    }
    expect(scenario.did('send')).toHaveLength(MAX_ATTEMPTS);
    expect(scenario.state.status).toBe('failed');
  });

  test('cancels a run that was accepted after the job was canceled', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'cancel' });
    expect(scenario.did('cancel_run')).toEqual([]);
    scenario.on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(scenario.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
  });
});

describe('a cancel', () => {
  test('ends a queued job at once and cancels its run', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' }).on({ kind: 'cancel' });
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('cancel_run')).toHaveLength(1);
    expect(scenario.did('stop_worker')).toEqual([]);
  });

  test('is sent to the worker of a running job, whose report ends the job', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'cancel' });
    expect(scenario.state.status).toBe('canceling');
    expect(scenario.did('stop_worker')).toEqual([{ kind: 'stop_worker', attempt: 1, reason: 'client' }]);
    scenario.on(report(1, claimA, { outcome: 'canceled' }));
    expect(scenario.statuses()).toEqual(['queued', 'running', 'canceling', 'canceled']);
  });

  test('closes a job whose worker does not respond, and cancels the run at RunPod', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'cancel' })
      .after(policy.cancel_grace * 1000);
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('cancel_run')).toHaveLength(1);
  });

  test('keeps the result when it crosses the report', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outputs: [picture] }));
    expect(scenario.state).toMatchObject({ status: 'succeeded', outputs: [picture] });
  });

  test('never leads to a new attempt', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(scenario.state.status).toBe('canceled');
    expect(scenario.did('send')).toHaveLength(1);
  });

  test('changes nothing when repeated', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'cancel' });
    const before = structuredClone(scenario.state);
    scenario.now += 5;
    expect(scenario.on({ kind: 'cancel' }).state).toEqual(before);
  });
});

describe('a worker that disconnects', () => {
  test('has a grace period to reconnect', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    expect(scenario.did('check')).toHaveLength(1);
    scenario.after(policy.channel_grace * 1000 - 1).on({ kind: 'channel_opened', attempt: 1, claim: claimA });
    expect(scenario.after(60_000).state.status).toBe('running');
  });

  test('is replaced once, then the job fails with worker_lost', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'channel_closed', attempt: 1, claim: claimA })
      .after(policy.channel_grace * 1000);
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{ outcome: 'lost' }, { phase: 'sending' }] });
    scenario
      .claimed(claimB)
      .on({ kind: 'channel_closed', attempt: 2, claim: claimB })
      .after(policy.channel_grace * 1000);
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'worker_lost', attempt: 2 } });
    expect(scenario.statuses().filter((status) => isTerminal(status as 'failed'))).toEqual(['failed']);
  });

  test('cannot report for an attempt that a newer one has replaced', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .on({ kind: 'channel_closed', attempt: 1, claim: claimA })
      .after(policy.channel_grace * 1000);
    expect(scenario.on(report(1, claimA, { outputs: [picture] })).reply).toBe('finished');
    expect(scenario.state.status).toBe('queued');
  });

  test('counts as lost when it never opens a channel after its claim', ({ expect }) => {
    const scenario = new Scenario()
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker })
      .after(policy.channel_grace * 1000);
    expect(scenario.state.attempts[0]?.outcome).toBe('lost');
  });
});

describe('a failure that the worker reports', () => {
  test('is retried up to the limit of claimed attempts when it is retryable', ({ expect }) => {
    const scenario = new Scenario().claimed().on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(scenario.state.status).toBe('queued');
    scenario.claimed(claimB).on(report(2, claimB, { outcome: 'failed', error: workerError() }));
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'comfyui_unavailable', attempt: 2 } });
  });

  test('ends the job with its node when it is not retryable', ({ expect }) => {
    const error = workerError({
      code: 'execution_error',
      at: 'workflow',
      retryable: false,
      node: { id: '9', class_type: 'Explode' },
    });
    const scenario = new Scenario().claimed().on(report(1, claimA, { outcome: 'failed', error }));
    expect(scenario.state.error).toMatchObject({
      code: 'execution_error',
      at: 'workflow',
      node: { id: '9' },
      attempt: 1,
    });
  });
});

describe('a worker that stops without a cancel', () => {
  test('is replaced, so that the client still gets the result', ({ expect }) => {
    const scenario = new Scenario().claimed().on(report(1, claimA, { outcome: 'canceled' }));
    expect(scenario.state).toMatchObject({
      status: 'queued',
      attempts: [{ outcome: 'lost', error: { code: 'provider_failed' } }, {}],
    });
    expect(scenario.claimed(claimB).on(report(2, claimB, {})).state.status).toBe('succeeded');
  });

  test('causes a timeout at the deadline', ({ expect }) => {
    const scenario = new Scenario()
      .claimed()
      .after(900_000)
      .on(report(1, claimA, { outcome: 'canceled' }));
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
  });
});

test('the log shows the beginning of every attempt, also after an unclaimed one', ({ expect }) => {
  const scenario = new Scenario().on({ kind: 'run_unknown', attempt: 1 }).after(policy.claim_grace * 1000);
  expect(scenario.events.flatMap((event) => (event.event === 'status' ? [event.data.attempt] : []))).toEqual([1, 2]);
});

describe("RunPod's word", () => {
  test.for(['completed', 'failed', 'timed_out', 'canceled'] as const)(
    '"%s" without a report waits for the report, which then counts',
    (status, { expect }) => {
      const scenario = new Scenario().claimed().on({ kind: 'run_status', attempt: 1, status });
      expect(scenario.after(5_000).state.status).toBe('running');
      expect(scenario.on(report(1, claimA, {})).state.status).toBe('succeeded');
    },
  );

  test('"completed" without a report in time makes the attempt lost', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'run_status', attempt: 1, status: 'completed' }).after(10_000);
    expect(scenario.state.attempts[0]).toMatchObject({ outcome: 'lost', error: { code: 'worker_lost' } });
  });

  test('"missing" does not end a job whose worker is connected', ({ expect }) => {
    const scenario = new Scenario().claimed().on({ kind: 'run_status', attempt: 1, status: 'missing' }).after(60_000);
    expect(scenario.state.status).toBe('running');
  });

  test('"missing" for an unclaimed run starts a new attempt', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    scenario.on({ kind: 'run_status', attempt: 1, status: 'missing' }).after(10_000);
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{ outcome: 'lost' }, {}] });
  });

  test('"queued" and "running" show what an unclaimed job waits for', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(scenario.on({ kind: 'run_status', attempt: 1, status: 'running' }).state.stage).toBe('cold_start');
    expect(scenario.on({ kind: 'run_status', attempt: 1, status: 'queued' }).state.stage).toBe('capacity');
  });

  test('is polled once per webhook, and not for an unknown run', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_hint', attempt: 1 });
    expect(scenario.did('check')).toEqual([]);
    scenario.claimed().on({ kind: 'run_hint', attempt: 1 }).on({ kind: 'run_hint', attempt: 7 });
    expect(scenario.did('check')).toHaveLength(1);
  });
});

describe('the deadline', () => {
  test('expires a job that never started', ({ expect }) => {
    const scenario = new Scenario().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' }).after(900_000);
    expect(scenario.state.status).toBe('expired');
    expect(scenario.did('cancel_run')).toHaveLength(1);
  });

  test('stops a running worker, and ends the job even without a report', ({ expect }) => {
    const scenario = new Scenario().claimed().after(900_000);
    expect(scenario.did('stop_worker')).toEqual([{ kind: 'stop_worker', attempt: 1, reason: 'deadline' }]);
    expect(scenario.state.status).toBe('running');
    scenario.after(policy.deadline_grace * 1000);
    expect(scenario.state).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
  });
});

describe('start_within', () => {
  const START_MS = 60_000;
  const soon = () => new Scenario({ start_deadline: START + START_MS });

  test('expires an unclaimed job, cancels its run and charges nothing', ({ expect }) => {
    const scenario = soon().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(scenario.after(START_MS - 1).state.status).toBe('queued');
    expect(scenario.after(1).state).toMatchObject({ status: 'expired', completed_at: START + START_MS });
    expect(scenario.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
    expect(chargeOf(scenario.state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });

  test('expires a job that still waits for a slot', ({ expect }) => {
    const scenario = new Scenario({ waits: true, start_deadline: START + START_MS });
    expect(scenario.after(START_MS).state.status).toBe('expired');
    expect(scenario.did('send')).toEqual([]);
    expect(scenario.did('release')).toHaveLength(1);
  });

  test('rejects a later claim even before the alarm has fired', ({ expect }) => {
    const scenario = soon().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    scenario.now = START + START_MS;
    expect(scenario.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('finished');
    expect(scenario.on({ kind: 'clock' }).state.status).toBe('expired');
  });

  test('does not affect a job that started in time, even when its worker is lost', ({ expect }) => {
    const scenario = soon().claimed();
    expect(scenario.after(START_MS).state.status).toBe('running');
    scenario.on({ kind: 'channel_closed', attempt: 1, claim: claimA }).after(policy.channel_grace * 1000);
    expect(scenario.state).toMatchObject({ status: 'queued', attempts: [{}, { phase: 'sending' }] });
    expect(scenario.claimed(claimB).reply).toBe('done');
    expect(scenario.state.status).toBe('running');
  });

  test('wakes the job at that time, but not after it has started', ({ expect }) => {
    // Before that it wakes to ask about its run.
    expect(wakeAt(soon().state, policy, START)).toBe(START + FIRST_CHECK_MS);
    expect(wakeAt(soon().state, policy, START + FIRST_CHECK_MS)).toBe(START + START_MS);
    const started = soon()
      .claimed()
      .after(START_MS - 1);
    expect(wakeAt(started.state, policy, started.now)).not.toBe(START + START_MS);
  });
});

describe('the first check of a run', () => {
  const accepted: Signal = { kind: 'run_accepted', attempt: 1, run_id: 'run-1' };

  test('is due at the time that the new attempt named, so that the alarm is set once', ({ expect }) => {
    const scenario = new Scenario();
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(START + FIRST_CHECK_MS);
    scenario.now += 300;
    scenario.on(accepted);
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(START + FIRST_CHECK_MS);
    expect(scenario.after(FIRST_CHECK_MS - 300).did('check')).toHaveLength(1);
  });

  test('comes FIRST_CHECK_MS after a late acceptance', ({ expect }) => {
    const scenario = new Scenario();
    scenario.now += FIRST_CHECK_MS;
    scenario.on(accepted);
    expect(wakeAt(scenario.state, policy, scenario.now)).toBe(scenario.now + FIRST_CHECK_MS);
  });
});

describe('an alarm when nothing is due', () => {
  test('stores nothing', ({ expect }) => {
    expect(new Scenario().after(1).reply).toBe('ignored');
    const scenario = new Scenario().claimed();
    const { state } = scenario;
    expect(scenario.after(1).reply).toBe('ignored');
    expect(scenario.state).toEqual(state);
  });
});

describe("RunPod's id of a run", () => {
  test('is in the error of its attempt and of the job', ({ expect }) => {
    const error = workerError({ code: 'execution_error', retryable: false });
    const scenario = new Scenario().claimed().on(report(1, claimA, { outcome: 'failed', error }));
    expect(scenario.state).toMatchObject({
      error: { attempt: 1, upstream_id: 'run-1' },
      attempts: [{ error: { upstream_id: 'run-1' } }],
    });
    expect(scenario.events.at(-1)).toMatchObject({ event: 'status', data: { error: { upstream_id: 'run-1' } } });
  });

  test('is left out when there was no run', ({ expect }) => {
    const scenario = new Scenario().on({
      kind: 'run_refused',
      attempt: 1,
      retryable: false,
      code: 'provider_refused',
      message: 'no',
      retry_after_ms: null,
    });
    expect(scenario.state.error).not.toHaveProperty('upstream_id');
  });
});

describe('the channel', () => {
  test('accepts each message once, in order', ({ expect }) => {
    const scenario = new Scenario().claimed();
    const message = (seq: number): Signal => ({
      kind: 'worker_message',
      attempt: 1,
      claim: claimA,
      message: { seq, type: 'log', level: 'info', message: `m${seq}` },
    });
    scenario.on(message(1)).on(message(1)).on(message(3)).on(message(2)).on(message(3));
    expect(scenario.events.flatMap((event) => (event.event === 'log' ? [event.data.message] : []))).toEqual([
      'm1',
      'm2',
      'm3',
    ]);
  });

  const progress = (seq: number, value: number, nodes?: Record<string, unknown>): Signal => ({
    kind: 'worker_message',
    attempt: 1,
    claim: claimA,
    message: { seq, type: 'progress', value, nodes_done: 0, nodes_total: 1, ...(nodes ? { nodes } : {}) },
  });
  const logged = (scenario: Scenario) => scenario.events.filter((event) => event.event === 'progress');

  test('never lets progress decrease', ({ expect }) => {
    const scenario = new Scenario().claimed().on(progress(1, 0.5)).on(progress(2, 0.2));
    expect(scenario.state.progress?.value).toBe(0.5);
    expect(scenario.live).toMatchObject([{ event: 'progress', data: { value: 0.5 } }]);
  });

  test('shows all progress and logs the first, one per 15 s, and the end of the graph', ({ expect }) => {
    const scenario = new Scenario().claimed();
    for (let seq = 1; seq <= 239; seq += 1) {
      scenario.on(progress(seq, seq / 240));
      scenario.now += 250;
    }
    expect(logged(scenario)).toHaveLength(4);
    expect(scenario.durable).toBe(false);
    scenario.on(progress(240, 1));
    expect(logged(scenario)).toHaveLength(5);
    expect(scenario.durable).toBe(true);
    expect(scenario.live.length + logged(scenario).length).toBe(240);
  });

  test('logs less often for a job that takes hours', ({ expect }) => {
    const scenario = new Scenario({ deadline: START + 86_400_000 }).claimed();
    for (let seq = 1; seq <= 86_000 / 15; seq += 1) {
      scenario.on(progress(seq, 0.5));
      scenario.now += 15_000;
    }
    expect(logged(scenario).length).toBeLessThan(1_500 + (86_000 - 1_500 * 15) / 60 + 2);
  });

  test('logs every node change in the next entry or before the end', ({ expect }) => {
    const running = { state: 'running' };
    const finished = { state: 'finished' };
    const scenario = new Scenario().claimed().on(progress(1, 0.1, { '1': running }));
    scenario.on(progress(2, 0.2, { '1': finished, '2': running }));
    scenario.now += 15_000;
    scenario.on(progress(3, 0.3, { '2': finished })).on(progress(4, 0.4, { '3': running }));
    scenario.on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) }));
    expect(logged(scenario).map((event) => event.data)).toMatchObject([
      { value: 0.1, nodes: { '1': running } },
      { value: 0.3, nodes: { '1': finished, '2': finished } },
      { value: 0.4, nodes: { '3': running } },
    ]);
    expect(scenario.events.at(-1)?.event).toBe('status');
  });

  test('logs node changes before they exceed one entry', ({ expect }) => {
    const scenario = new Scenario().claimed().on(progress(1, 0.1));
    const changes = (from: number) =>
      Object.fromEntries(Array.from({ length: 700 }, (_, id) => [String(from + id), { state: 'finished', value: 1 }]));
    scenario.on(progress(2, 0.2, changes(0)));
    expect(logged(scenario)).toHaveLength(1);
    scenario.on(progress(3, 0.3, changes(1_000)));
    expect(logged(scenario).map(({ data }) => [data.value, Object.keys(data.nodes ?? {}).length])).toEqual([
      [0.1, 0],
      [0.2, 700],
    ]);
    expect(scenario.durable).toBe(true);
    expect(Object.keys(scenario.state.progress_log.nodes)).toHaveLength(700);
  });

  test('lets RunPod be polled less often while it is open, and at once when it closes', ({ expect }) => {
    const scenario = new Scenario().claimed();
    const poll_ms = policy.poll_interval * 1000;
    scenario.after(3 * poll_ms);
    expect(scenario.did('check')).toHaveLength(0);
    scenario.after(poll_ms);
    expect(scenario.did('check')).toHaveLength(1);
    scenario.on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    expect(scenario.did('check')).toHaveLength(2);
  });

  test('asks for missing messages, and accepts none twice', ({ expect }) => {
    const scenario = new Scenario().claimed().on(progress(1, 0.1));
    expect(scenario.on(progress(3, 0.3)).reply).toBe('gap');
    expect(scenario.on(progress(1, 0.1)).reply).toBe('ignored');
    expect(scenario.on(progress(2, 0.2)).reply).toBe('done');
  });
});

describe('any signals in any order', () => {
  test('lead to one terminal event, the last of the log, by the deadline and its grace period', ({ expect }) => {
    fc.assert(
      fc.property(randomScenarios, (signals) => {
        const scenario = new Scenario();
        for (const [signal, pause] of signals) {
          scenario.now += pause;
          const before = scenario.state;
          scenario.on(signal);
          if (isTerminal(before.status)) {
            expect(scenario.state.status).toBe(before.status);
            expect(scenario.state.last_event).toBe(before.last_event);
          }
        }
        // From here only the alarm: it must be enough.
        for (let rings = 0; rings < 200 && !isTerminal(scenario.state.status); rings += 1) {
          const at = wakeAt(scenario.state, policy, scenario.now);
          expect(at).not.toBeNull();
          scenario.now = Math.max(scenario.now, at ?? 0);
          scenario.on({ kind: 'clock' });
        }
        expect(isTerminal(scenario.state.status)).toBe(true);
        const latest = scenario.state.deadline + policy.deadline_grace * 1000;
        expect(scenario.state.completed_at ?? Infinity).toBeLessThanOrEqual(
          Math.max(latest, START + signals.reduce((sum, [, pause]) => sum + pause, 0)),
        );
        const terminal = scenario.events.filter((event) => event.event === 'status' && isTerminal(event.data.status));
        expect(terminal).toHaveLength(1);
        expect(scenario.events.at(-1)).toBe(terminal[0]);
        expect(scenario.did('release')).toHaveLength(1);
        expect(scenario.state.attempts.filter((attempt) => attempt.phase !== 'finished')).toEqual([]);
        expect(new Set(scenario.did('send').map((effect) => ('attempt' in effect ? effect.attempt : 0))).size).toBe(
          scenario.state.attempts.length,
        );
        expect(scenario.state.last_event).toBe(scenario.events.length);
      }),
      { numRuns: 2_000 },
    );
  });
});
