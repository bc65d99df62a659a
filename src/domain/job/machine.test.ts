import * as fc from 'fast-check';
import { describe, test } from 'vitest';
import { isTerminal } from '../../contract/job.ts';
import { claimA, claimB, picture, Play, policy, report, START, worker, workerError } from '../../testing/scenario.ts';
import { stories } from '../../testing/random-scenarios.ts';
import { wakeAt } from './clock.ts';
import { FIRST_CHECK_MS } from './run-accepted.ts';
import type { Signal } from './signals.ts';
import { currentAttempt } from './state.ts';
import { MAX_SENDS } from './transition.ts';
import { usedBy } from './usage.ts';

describe('a job that goes well', () => {
  test('runs from queued to succeeded and gives its place back once', ({ expect }) => {
    const play = new Play().claimed().on(report(1, claimA, { outputs: [picture] }));
    expect(play.state).toMatchObject({ status: 'succeeded', stage: null, outputs: [picture], error: null });
    expect(play.statuses()).toEqual(['queued', 'running', 'succeeded']);
    expect(play.did('send')).toHaveLength(1);
    expect(play.did('release')).toHaveLength(1);
    expect(play.did('cancel_run')).toEqual([]);
  });

  test('takes the report again after it is over, and answers the same', ({ expect }) => {
    const play = new Play().claimed().on(report(1, claimA, {}));
    const events = play.events.length;
    play.on(report(1, claimA, {}));
    expect(play.reply).toBe('done');
    expect(play.events).toHaveLength(events);
  });

  test('logs an output the channel lost, and none twice', ({ expect }) => {
    const play = new Play().claimed();
    play.on({
      kind: 'worker_message',
      attempt: 1,
      claim: claimA,
      message: { seq: 1, type: 'output', output: picture },
    });
    const second = { ...picture, name: 'b.png' };
    play.on(report(1, claimA, { outputs: [picture, second] }));
    expect(play.events.filter((event) => event.event === 'output').map((event) => event.data.name)).toEqual([
      't_00001_.png',
      'b.png',
    ]);
  });
});

describe('a claim', () => {
  test('succeeds once: another delivery of the ticket is told so', ({ expect }) => {
    const play = new Play().claimed();
    expect(play.on({ kind: 'claim', attempt: 1, claim: claimB, worker }).reply).toBe('claimed_elsewhere');
    expect(play.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('granted');
  });

  test('is granted even when it outruns the answer of /run', ({ expect }) => {
    const play = new Play().on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(play.reply).toBe('granted');
    play.on({ kind: 'run_accepted', attempt: 1, run_id: 'late' });
    expect(currentAttempt(play.state)).toMatchObject({ phase: 'claimed', run_id: 'late' });
  });

  test('comes too late after a cancel, after the deadline, and for an older attempt', ({ expect }) => {
    expect(new Play().on({ kind: 'cancel' }).on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe(
      'over',
    );
    const expired = new Play();
    expired.now = expired.state.deadline;
    expect(expired.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('over');
    const retried = new Play().on({ kind: 'run_unknown', attempt: 1 }).after(policy.claim_grace * 1000);
    expect(retried.state.attempts).toHaveLength(2);
    expect(retried.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('over');
  });
});

describe('/run', () => {
  test('with an unknown outcome is waited out, then fenced off by a new attempt, never repeated', ({ expect }) => {
    const play = new Play().on({ kind: 'run_unknown', attempt: 1 });
    play.after(policy.claim_grace * 1000 - 1);
    expect(play.did('send')).toHaveLength(1);
    play.after(1);
    expect(play.did('send')).toEqual([
      { kind: 'send', attempt: 1 },
      { kind: 'send', attempt: 2 },
    ]);
    expect(play.state.attempts[0]).toMatchObject({ phase: 'over', outcome: 'superseded' });
  });

  test('with an unknown outcome that a worker claims after all goes on', ({ expect }) => {
    const play = new Play()
      .on({ kind: 'run_unknown', attempt: 1 })
      .on({ kind: 'claim', attempt: 1, claim: claimA, worker });
    expect(play.reply).toBe('granted');
    expect(play.after(1_000).did('send')).toHaveLength(1);
  });

  test('refused for now is called again for the same attempt, later each time', ({ expect }) => {
    const refused: Signal = {
      kind: 'run_refused',
      attempt: 1,
      again: true,
      code: 'no_capacity',
      message: '',
      retry_after_ms: null,
    };
    const play = new Play().on(refused);
    expect(play.after(999).did('send')).toHaveLength(1);
    expect(play.after(1).did('send')).toHaveLength(2);
    play.on(refused);
    expect(play.after(1_999).did('send')).toHaveLength(2);
    expect(play.after(1).did('send')).toHaveLength(3);
    expect(play.state.attempts).toHaveLength(1);
  });

  test.for([
    ['as long as it asks for', 90_000, 90_000],
    ['no longer than two minutes', 86_400_000, 120_000],
  ] as const)('refused for now with a Retry-After waits %s', ([, retry_after_ms, waited], { expect }) => {
    const refused = { kind: 'run_refused', attempt: 1, again: true, code: 'no_capacity', message: '' } as const;
    const play = new Play().on({ ...refused, retry_after_ms });
    expect(play.after(waited - 1).did('send')).toHaveLength(1);
    expect(play.after(1).did('send')).toHaveLength(2);
  });

  test('refused for good fails the job', ({ expect }) => {
    const play = new Play().on({
      kind: 'run_refused',
      attempt: 1,
      again: false,
      code: 'provider_refused',
      message: 'no',
      retry_after_ms: null,
    });
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'provider_refused', at: 'provider' } });
  });

  test('never has more than the allowed number of attempts', ({ expect }) => {
    const play = new Play({ deadline: START + 86_400_000 });
    for (let attempt = 1; attempt <= MAX_SENDS; attempt += 1) {
      play.on({ kind: 'run_unknown', attempt }).after(policy.claim_grace * 1000);
    }
    expect(play.did('send')).toHaveLength(MAX_SENDS);
    expect(play.state.status).toBe('failed');
  });

  test('accepted after the job was canceled is canceled at RunPod', ({ expect }) => {
    const play = new Play().on({ kind: 'cancel' });
    expect(play.did('cancel_run')).toEqual([]);
    play.on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(play.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
  });
});

describe('a cancel', () => {
  test('of a queued job ends it at once and cancels the run before a worker starts', ({ expect }) => {
    const play = new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' }).on({ kind: 'cancel' });
    expect(play.state.status).toBe('canceled');
    expect(play.did('cancel_run')).toHaveLength(1);
    expect(play.did('stop_worker')).toEqual([]);
  });

  test('of a running job tells the worker, and the worker ends it', ({ expect }) => {
    const play = new Play().claimed().on({ kind: 'cancel' });
    expect(play.state.status).toBe('canceling');
    expect(play.did('stop_worker')).toEqual([{ kind: 'stop_worker', attempt: 1, reason: 'client' }]);
    play.on(report(1, claimA, { outcome: 'canceled' }));
    expect(play.statuses()).toEqual(['queued', 'running', 'canceling', 'canceled']);
  });

  test('closes a job whose worker says nothing, and takes the run away from RunPod', ({ expect }) => {
    const play = new Play()
      .claimed()
      .on({ kind: 'cancel' })
      .after(policy.cancel_grace * 1000);
    expect(play.state.status).toBe('canceled');
    expect(play.did('cancel_run')).toHaveLength(1);
  });

  test('that crosses the report leaves the result standing', ({ expect }) => {
    const play = new Play()
      .claimed()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outputs: [picture] }));
    expect(play.state).toMatchObject({ status: 'succeeded', outputs: [picture] });
  });

  test('is never answered by a new attempt', ({ expect }) => {
    const play = new Play()
      .claimed()
      .on({ kind: 'cancel' })
      .on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(play.state.status).toBe('canceled');
    expect(play.did('send')).toHaveLength(1);
  });

  test('repeated changes nothing', ({ expect }) => {
    const play = new Play().claimed().on({ kind: 'cancel' });
    const before = structuredClone(play.state);
    play.now += 5;
    expect(play.on({ kind: 'cancel' }).state).toEqual(before);
  });
});

describe('a worker that goes away', () => {
  test('has a grace to come back', ({ expect }) => {
    const play = new Play().claimed().on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    expect(play.did('check')).toHaveLength(1);
    play.after(policy.channel_grace * 1000 - 1).on({ kind: 'channel_opened', attempt: 1, claim: claimA });
    expect(play.after(60_000).state.status).toBe('running');
  });

  test('is replaced once, then the job fails with worker_lost', ({ expect }) => {
    const play = new Play()
      .claimed()
      .on({ kind: 'channel_closed', attempt: 1, claim: claimA })
      .after(policy.channel_grace * 1000);
    expect(play.state).toMatchObject({ status: 'queued', attempts: [{ outcome: 'lost' }, { phase: 'sending' }] });
    play
      .claimed(claimB)
      .on({ kind: 'channel_closed', attempt: 2, claim: claimB })
      .after(policy.channel_grace * 1000);
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'worker_lost', attempt: 2 } });
    expect(play.statuses().filter((status) => isTerminal(status as 'failed'))).toEqual(['failed']);
  });

  test('cannot report for an attempt that a newer one replaced', ({ expect }) => {
    const play = new Play()
      .claimed()
      .on({ kind: 'channel_closed', attempt: 1, claim: claimA })
      .after(policy.channel_grace * 1000);
    expect(play.on(report(1, claimA, { outputs: [picture] })).reply).toBe('over');
    expect(play.state.status).toBe('queued');
  });

  test('that never opened a channel after its claim is lost too', ({ expect }) => {
    const play = new Play().on({ kind: 'claim', attempt: 1, claim: claimA, worker }).after(policy.channel_grace * 1000);
    expect(play.state.attempts[0]?.outcome).toBe('lost');
  });
});

describe('a failure the worker reports', () => {
  test('that may pass is tried again within the budget of claimed attempts', ({ expect }) => {
    const play = new Play().claimed().on(report(1, claimA, { outcome: 'failed', error: workerError() }));
    expect(play.state.status).toBe('queued');
    play.claimed(claimB).on(report(2, claimB, { outcome: 'failed', error: workerError() }));
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'comfyui_unavailable', attempt: 2 } });
  });

  test('that will not pass ends the job with its node', ({ expect }) => {
    const error = workerError({
      code: 'execution_error',
      at: 'workflow',
      retryable: false,
      node: { id: '9', class_type: 'Explode' },
    });
    const play = new Play().claimed().on(report(1, claimA, { outcome: 'failed', error }));
    expect(play.state.error).toMatchObject({ code: 'execution_error', at: 'workflow', node: { id: '9' }, attempt: 1 });
  });
});

describe('a worker that is stopped though nobody asked', () => {
  test('is replaced: the client gets the result all the same', ({ expect }) => {
    const play = new Play().claimed().on(report(1, claimA, { outcome: 'canceled' }));
    expect(play.state).toMatchObject({
      status: 'queued',
      attempts: [{ outcome: 'lost', error: { code: 'provider_failed' } }, {}],
    });
    expect(play.claimed(claimB).on(report(2, claimB, {})).state.status).toBe('succeeded');
  });

  test('at the deadline is a timeout', ({ expect }) => {
    const play = new Play()
      .claimed()
      .after(900_000)
      .on(report(1, claimA, { outcome: 'canceled' }));
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
  });
});

test('every attempt is announced in the log, also one that follows an attempt nobody claimed', ({ expect }) => {
  const play = new Play().on({ kind: 'run_unknown', attempt: 1 }).after(policy.claim_grace * 1000);
  expect(play.events.flatMap((event) => (event.event === 'status' ? [event.data.attempt] : []))).toEqual([1, 2]);
});

describe("RunPod's word", () => {
  test.for(['completed', 'failed', 'timed_out', 'canceled'] as const)(
    '"%s" without a report waits for the report, which then counts',
    (status, { expect }) => {
      const play = new Play().claimed().on({ kind: 'run_status', attempt: 1, status });
      expect(play.after(5_000).state.status).toBe('running');
      expect(play.on(report(1, claimA, {})).state.status).toBe('succeeded');
    },
  );

  test('"completed" and no report in time makes the attempt lost', ({ expect }) => {
    const play = new Play().claimed().on({ kind: 'run_status', attempt: 1, status: 'completed' }).after(10_000);
    expect(play.state.attempts[0]).toMatchObject({ outcome: 'lost', error: { code: 'worker_lost' } });
  });

  test('"missing" does not end a job whose worker is heard', ({ expect }) => {
    const play = new Play().claimed().on({ kind: 'run_status', attempt: 1, status: 'missing' }).after(60_000);
    expect(play.state.status).toBe('running');
  });

  test('"missing" for a run nobody claimed starts a new attempt', ({ expect }) => {
    const play = new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    play.on({ kind: 'run_status', attempt: 1, status: 'missing' }).after(10_000);
    expect(play.state).toMatchObject({ status: 'queued', attempts: [{ outcome: 'lost' }, {}] });
  });

  test('"queued" and "running" show what an unclaimed job waits for', ({ expect }) => {
    const play = new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(play.on({ kind: 'run_status', attempt: 1, status: 'running' }).state.stage).toBe('cold_start');
    expect(play.on({ kind: 'run_status', attempt: 1, status: 'queued' }).state.stage).toBe('capacity');
  });

  test('is asked for once per hint, and a hint for nothing asks nothing', ({ expect }) => {
    const play = new Play().on({ kind: 'run_hint', attempt: 1 });
    expect(play.did('check')).toEqual([]);
    play.claimed().on({ kind: 'run_hint', attempt: 1 }).on({ kind: 'run_hint', attempt: 7 });
    expect(play.did('check')).toHaveLength(1);
  });
});

describe('the deadline', () => {
  test('expires a job that never started', ({ expect }) => {
    const play = new Play().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' }).after(900_000);
    expect(play.state.status).toBe('expired');
    expect(play.did('cancel_run')).toHaveLength(1);
  });

  test('stops a running worker, and ends the job even if it says nothing', ({ expect }) => {
    const play = new Play().claimed().after(900_000);
    expect(play.did('stop_worker')).toEqual([{ kind: 'stop_worker', attempt: 1, reason: 'deadline' }]);
    expect(play.state.status).toBe('running');
    play.after(policy.deadline_grace * 1000);
    expect(play.state).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
  });
});

describe('a time to start within', () => {
  const START_MS = 60_000;
  const soon = () => new Play({ start_deadline: START + START_MS });

  test('expires a job that no worker has claimed by then, cancels its run and charges nothing', ({ expect }) => {
    const play = soon().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    expect(play.after(START_MS - 1).state.status).toBe('queued');
    expect(play.after(1).state).toMatchObject({ status: 'expired', completed_at: START + START_MS });
    expect(play.did('cancel_run')).toEqual([{ kind: 'cancel_run', attempt: 1, run_id: 'r' }]);
    expect(usedBy(play.state)).toEqual({ gpu_ms: 0, micro_usd: 0 });
  });

  test('expires a job that still waits for its account', ({ expect }) => {
    const play = new Play({ waits: true, start_deadline: START + START_MS });
    expect(play.after(START_MS).state.status).toBe('expired');
    expect(play.did('send')).toEqual([]);
    expect(play.did('release')).toHaveLength(1);
  });

  test('refuses a claim that comes then, though nobody has looked at the clock yet', ({ expect }) => {
    const play = soon().on({ kind: 'run_accepted', attempt: 1, run_id: 'r' });
    play.now = START + START_MS;
    expect(play.on({ kind: 'claim', attempt: 1, claim: claimA, worker }).reply).toBe('over');
    expect(play.on({ kind: 'clock' }).state.status).toBe('expired');
  });

  test('says nothing of a job that started in time, not even when its worker is lost', ({ expect }) => {
    const play = soon().claimed();
    expect(play.after(START_MS).state.status).toBe('running');
    play.on({ kind: 'channel_closed', attempt: 1, claim: claimA }).after(policy.channel_grace * 1000);
    expect(play.state).toMatchObject({ status: 'queued', attempts: [{}, { phase: 'sending' }] });
    expect(play.claimed(claimB).reply).toBe('done');
    expect(play.state.status).toBe('running');
  });

  test('wakes the job at that moment, and no more once it has started', ({ expect }) => {
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

  test('is due when the new attempt said, so that the alarm is set once', ({ expect }) => {
    const play = new Play();
    expect(wakeAt(play.state, policy, play.now)).toBe(START + FIRST_CHECK_MS);
    play.now += 300;
    play.on(accepted);
    expect(wakeAt(play.state, policy, play.now)).toBe(START + FIRST_CHECK_MS);
    expect(play.after(FIRST_CHECK_MS - 300).did('check')).toHaveLength(1);
  });

  test('comes FIRST_CHECK_MS after a run that RunPod took late', ({ expect }) => {
    const play = new Play();
    play.now += FIRST_CHECK_MS;
    play.on(accepted);
    expect(wakeAt(play.state, policy, play.now)).toBe(play.now + FIRST_CHECK_MS);
  });
});

describe('an alarm that rings when nothing is due', () => {
  test('leaves nothing to be stored', ({ expect }) => {
    expect(new Play().after(1).reply).toBe('ignored');
    const play = new Play().claimed();
    const { state } = play;
    expect(play.after(1).reply).toBe('ignored');
    expect(play.state).toEqual(state);
  });
});

describe("RunPod's id of a run", () => {
  test('is in the error of its attempt and of the job', ({ expect }) => {
    const error = workerError({ code: 'execution_error', retryable: false });
    const play = new Play().claimed().on(report(1, claimA, { outcome: 'failed', error }));
    expect(play.state).toMatchObject({
      error: { attempt: 1, upstream_id: 'run-1' },
      attempts: [{ error: { upstream_id: 'run-1' } }],
    });
    expect(play.events.at(-1)).toMatchObject({ event: 'status', data: { error: { upstream_id: 'run-1' } } });
  });

  test('is left out where there was no run', ({ expect }) => {
    const play = new Play().on({
      kind: 'run_refused',
      attempt: 1,
      again: false,
      code: 'provider_refused',
      message: 'no',
      retry_after_ms: null,
    });
    expect(play.state.error).not.toHaveProperty('upstream_id');
  });
});

describe('the channel', () => {
  test('takes each message once, in order', ({ expect }) => {
    const play = new Play().claimed();
    const message = (seq: number): Signal => ({
      kind: 'worker_message',
      attempt: 1,
      claim: claimA,
      message: { seq, type: 'log', level: 'info', message: `m${seq}` },
    });
    play.on(message(1)).on(message(1)).on(message(3)).on(message(2)).on(message(3));
    expect(play.events.flatMap((event) => (event.event === 'log' ? [event.data.message] : []))).toEqual([
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
  const logged = (play: Play) => play.events.filter((event) => event.event === 'progress');

  test('never lets progress fall', ({ expect }) => {
    const play = new Play().claimed().on(progress(1, 0.5)).on(progress(2, 0.2));
    expect(play.state.progress?.value).toBe(0.5);
    expect(play.live).toMatchObject([{ event: 'progress', data: { value: 0.5 } }]);
  });

  test('shows all progress and logs some: the first, one in 15 s, and the end of the graph', ({ expect }) => {
    const play = new Play().claimed();
    for (let seq = 1; seq <= 239; seq += 1) {
      play.on(progress(seq, seq / 240));
      play.now += 250;
    }
    expect(logged(play)).toHaveLength(4);
    expect(play.durable).toBe(false);
    play.on(progress(240, 1));
    expect(logged(play)).toHaveLength(5);
    expect(play.durable).toBe(true);
    expect(play.live.length + logged(play).length).toBe(240);
  });

  test('logs less of a job that takes hours', ({ expect }) => {
    const play = new Play({ deadline: START + 86_400_000 }).claimed();
    for (let seq = 1; seq <= 86_000 / 15; seq += 1) {
      play.on(progress(seq, 0.5));
      play.now += 15_000;
    }
    expect(logged(play).length).toBeLessThan(1_500 + (86_000 - 1_500 * 15) / 60 + 2);
  });

  test('loses no change of a node: what was only shown is in the next entry of the log, or before the end', ({
    expect,
  }) => {
    const running = { state: 'running' };
    const finished = { state: 'finished' };
    const play = new Play().claimed().on(progress(1, 0.1, { '1': running }));
    play.on(progress(2, 0.2, { '1': finished, '2': running }));
    play.now += 15_000;
    play.on(progress(3, 0.3, { '2': finished })).on(progress(4, 0.4, { '3': running }));
    play.on(report(1, claimA, { outcome: 'failed', error: workerError({ retryable: false }) }));
    expect(logged(play).map((event) => event.data)).toMatchObject([
      { value: 0.1, nodes: { '1': running } },
      { value: 0.3, nodes: { '1': finished, '2': finished } },
      { value: 0.4, nodes: { '3': running } },
    ]);
    expect(play.events.at(-1)?.event).toBe('status');
  });

  test('writes changes of nodes to the log before they are too many for one entry', ({ expect }) => {
    const play = new Play().claimed().on(progress(1, 0.1));
    const changes = (from: number) =>
      Object.fromEntries(Array.from({ length: 700 }, (_, id) => [String(from + id), { state: 'finished', value: 1 }]));
    play.on(progress(2, 0.2, changes(0)));
    expect(logged(play)).toHaveLength(1);
    play.on(progress(3, 0.3, changes(1_000)));
    expect(logged(play).map(({ data }) => [data.value, Object.keys(data.nodes ?? {}).length])).toEqual([
      [0.1, 0],
      [0.2, 700],
    ]);
    expect(play.durable).toBe(true);
    expect(Object.keys(play.state.progress_log.nodes)).toHaveLength(700);
  });

  test('asks RunPod less often about a worker that is on its channel, and at once when it leaves', ({ expect }) => {
    const play = new Play().claimed();
    const poll_ms = policy.poll_interval * 1000;
    play.after(3 * poll_ms);
    expect(play.did('check')).toHaveLength(0);
    play.after(poll_ms);
    expect(play.did('check')).toHaveLength(1);
    play.on({ kind: 'channel_closed', attempt: 1, claim: claimA });
    expect(play.did('check')).toHaveLength(2);
  });

  test('asks for what it does not know, and takes nothing twice', ({ expect }) => {
    const play = new Play().claimed().on(progress(1, 0.1));
    expect(play.on(progress(3, 0.3)).reply).toBe('gap');
    expect(play.on(progress(1, 0.1)).reply).toBe('ignored');
    expect(play.on(progress(2, 0.2)).reply).toBe('done');
  });
});

describe('whatever happens, in whatever order', () => {
  test('there is one terminal event, it is the last, and everything ends by the deadline and its grace', ({
    expect,
  }) => {
    fc.assert(
      fc.property(stories, (story) => {
        const play = new Play();
        for (const [signal, pause] of story) {
          play.now += pause;
          const before = play.state;
          play.on(signal);
          if (isTerminal(before.status)) {
            expect(play.state.status).toBe(before.status);
            expect(play.state.last_event).toBe(before.last_event);
          }
        }
        // From here only the alarm: it must be enough.
        for (let rings = 0; rings < 200 && !isTerminal(play.state.status); rings += 1) {
          const at = wakeAt(play.state, policy, play.now);
          expect(at).not.toBeNull();
          play.now = Math.max(play.now, at ?? 0);
          play.on({ kind: 'clock' });
        }
        expect(isTerminal(play.state.status)).toBe(true);
        const latest = play.state.deadline + policy.deadline_grace * 1000;
        expect(play.state.completed_at ?? Infinity).toBeLessThanOrEqual(
          Math.max(latest, START + story.reduce((sum, [, pause]) => sum + pause, 0)),
        );
        const terminal = play.events.filter((event) => event.event === 'status' && isTerminal(event.data.status));
        expect(terminal).toHaveLength(1);
        expect(play.events.at(-1)).toBe(terminal[0]);
        expect(play.did('release')).toHaveLength(1);
        expect(play.state.attempts.filter((attempt) => attempt.phase !== 'over')).toEqual([]);
        expect(new Set(play.did('send').map((effect) => ('attempt' in effect ? effect.attempt : 0))).size).toBe(
          play.state.attempts.length,
        );
        expect(play.state.last_event).toBe(play.events.length);
      }),
      { numRuns: 2_000 },
    );
  });
});
