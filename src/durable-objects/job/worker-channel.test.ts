import { abortAllDurableObjects, evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import type { NewJob } from '../../contract/new-job.ts';
import { outputKey } from '../../storage/r2/keys.ts';
import {
  ACCOUNT,
  alarmOf,
  createClaimedJob,
  connected,
  createJob,
  dialChannel,
  dialWatch,
  fakeRunpod,
  frozenClock,
  newJob,
  runAlarm,
  harnessOf,
  drained,
  claimAttempt,
  until,
  view,
  type JobSocket,
  type JobHarness,
} from '../../testing/job.ts';

/**
 * Guards the order of worker messages and the fencing of attempts: a message is stored once and in order over any
 * number of reconnects, and a worker whose attempt was replaced cannot change the job.
 */

const log = (seq: number) => ({ seq, type: 'log', level: 'info', message: `m${seq}` });
const preview = (over: object = {}) => ({
  type: 'preview',
  node_id: '3',
  content_type: 'image/png',
  data_base64: 'AA==',
  ...over,
});

/** Ms until the job's alarm rings. */
const alarmIn = async (harness: JobHarness) => ((await alarmOf(harness)) ?? 0) - Date.now();

async function open(over: Partial<NewJob> = {}): Promise<{ rig: JobHarness & { claim: string }; channel: JobSocket }> {
  fakeRunpod();
  const harness = await createClaimedJob(over);
  const channel = await connected(dialChannel(harness, 1, harness.claim));
  expect(await channel.next()).toEqual({ ack: 0 });
  return { rig: harness, channel };
}

describe('opening the channel', () => {
  it('accepts the granted claim only', async () => {
    fakeRunpod();
    const harness = await createJob();
    const claim = crypto.randomUUID();
    expect(await dialChannel(harness, 1, claim)).toBe(410);
    await claimAttempt(harness, claim, 1);
    expect(await dialChannel(harness, 1, crypto.randomUUID())).toBe(409);
    expect(await dialChannel(harness, 1, '')).toBe(409);
    expect(await dialChannel(harness, 2, claim)).toBe(410);
    expect(await dialChannel(harness, Number.NaN, claim)).toBe(410);
    expect(await dialChannel(harnessOf(newJob().id), 1, claim)).toBe(404);
    await connected(dialChannel(harness, 1, claim));
  });

  it('replaces an earlier connection', async () => {
    const { rig: harness, channel } = await open();
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
    const second = await connected(dialChannel(harness, 1, harness.claim));
    expect(await second.next()).toEqual({ ack: 1 });
    expect(await channel.closed).toMatchObject({ code: 4000 });
    expect(await second.ask(log(2))).toEqual({ ack: 2 });
    expect((await view(harness)).attempts[0]?.status).toBe('running');
  });

  it('sends a cancel after the ack to a worker that was disconnected during it', async () => {
    const { rig, channel } = await open();
    channel.socket.close(1000);
    await rig.stub.cancel(ACCOUNT);
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 0 });
    expect(await back.next()).toEqual({ cancel: true, reason: 'client' });
  });

  it('sends a cancel to a worker that reconnects after the deadline', async () => {
    const clock = frozenClock();
    const { rig, channel } = await open({ deadline: Date.now() + 30_000 });
    clock.pass(30_000);
    await runAlarm(rig);
    expect(await channel.next()).toEqual({ cancel: true, reason: 'deadline' });
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 0 });
    expect(await back.next()).toEqual({ cancel: true, reason: 'deadline' });
  });
});

describe('a numbered message', () => {
  it('is stored once and in order; a gap or a repetition gets the last stored number', async () => {
    const { rig, channel } = await open();
    expect(await channel.ask(log(2))).toEqual({ ack: 0, resend: true });
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
    expect(await channel.ask(log(3))).toEqual({ ack: 1, resend: true });
    expect(await channel.ask(log(2))).toEqual({ ack: 2 });
    await rig.stub.cancel(ACCOUNT);
    const watcher = await connected(dialWatch(rig, 0));
    const messages = [];
    for (let frames = 0; frames < 5; frames += 1) {
      const frame = (await watcher.next()) as { event: string; data: { message?: string } };
      messages.push(frame.data.message ?? frame.event);
    }
    expect(messages).toEqual(['status', 'status', 'm1', 'm2', 'status']);
  });

  it.each([
    ['of a type not known yet', { seq: 1, type: 'hologram', depth: 3 }],
    ['that is malformed', { seq: 1, type: 'progress', value: 'half' }],
    ['that is too long', { seq: 1, type: 'log', level: 'info', message: 'x'.repeat(300_000) }],
    [
      "that names another job's object",
      {
        seq: 1,
        type: 'output',
        output: {
          name: 'a.png',
          node_id: '1',
          type: 'image',
          content_type: 'image/png',
          size_bytes: 1,
          sha256: 'a'.repeat(64),
          key: outputKey('somebody', 'else', 1, 'a.png'),
        },
      },
    ],
  ])('%s is acknowledged and skipped, so that it does not block later ones', async (_name, frame) => {
    const { rig, channel } = await open();
    const before = await view(rig);
    expect(await channel.ask(frame)).toEqual({ ack: 1 });
    expect(await channel.ask(log(2))).toEqual({ ack: 2 });
    expect((await view(rig)).last_event).toBe(before.last_event + 1);
    expect((await view(rig)).outputs).toEqual([]);
  });

  it('is rejected with a stage that only the gateway may set', async () => {
    const { rig, channel } = await open();
    await channel.ask({ seq: 1, type: 'stage', stage: 'capacity' });
    expect(await view(rig)).toMatchObject({ status: 'running', stage: 'executing' });
  });
});

describe('a frame that is not of the contract', () => {
  it.each([
    ['text that is no JSON', 'hello'],
    ['JSON without a number', '{"type":"stage","stage":"executing"}'],
    ['a number below one', '{"seq":0,"type":"log","level":"info","message":""}'],
    ['null', 'null'],
    ['bytes', new Uint8Array([1, 2, 3]).buffer],
  ])('closes the connection, not the attempt: %s', async (_name, frame) => {
    const { rig, channel } = await open();
    channel.socket.send(frame);
    expect(await channel.closed).toMatchObject({ code: 4400 });
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 0 });
  });
});

describe('progress between two entries of the log', () => {
  const progress = (seq: number) => ({ seq, type: 'progress', value: seq / 100, nodes_done: 0, nodes_total: 1 });

  it('is sent to watchers at once without a number, and acknowledged with the next stored message', async () => {
    const { rig, channel } = await open();
    const watcher = await connected(dialWatch(rig, null));
    await watcher.next();
    expect(await channel.ask(progress(1))).toEqual({ ack: 1 });
    expect(await watcher.next()).toMatchObject({ event: 'progress', id: 3, data: { value: 0.01 } });
    channel.say(progress(2));
    expect(await watcher.next()).toEqual({ event: 'progress', data: expect.objectContaining({ value: 0.02 }) });
    expect((await view(rig)).progress?.value).toBe(0.02);
    // The answer to the third is the next frame that came down: there was none for the second.
    expect(await channel.ask({ seq: 3, type: 'sync' })).toEqual({ ack: 3 });
    expect((await view(rig)).last_event).toBe(3);
  });

  it('is requested again by an object that hibernated or restarted', async () => {
    const { rig, channel } = await open();
    expect(await channel.ask(progress(1))).toEqual({ ack: 1 });
    channel.say(progress(2));
    await until(async () => expect((await view(rig)).progress?.value).toBe(0.02));
    await evictDurableObject(rig.object);
    expect(await channel.ask(log(3))).toEqual({ ack: 1, resend: true });
    channel.say(progress(2));
    expect(await channel.ask(log(3))).toEqual({ ack: 3 });

    channel.say(progress(4));
    await until(async () => expect((await view(rig)).progress?.value).toBe(0.04));
    await abortAllDurableObjects();
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 3 });
  });

  it('is acknowledged when the worker reconnects', async () => {
    const { rig, channel } = await open();
    expect(await channel.ask(progress(1))).toEqual({ ack: 1 });
    channel.say(progress(2));
    await until(async () => expect((await view(rig)).progress?.value).toBe(0.02));
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 2 });
    await abortAllDurableObjects();
    const third = await connected(dialChannel(rig, 1, rig.claim));
    expect(await third.next()).toEqual({ ack: 2 });
  });
});

describe('a preview', () => {
  it('reaches watchers, also later ones, and is not in the log', async () => {
    const { rig, channel } = await open();
    const watcher = await connected(dialWatch(rig, null));
    await watcher.next();
    const before = (await view(rig)).last_event;
    channel.say(preview());
    const frame = { event: 'preview', data: { node_id: '3', content_type: 'image/png', data_base64: 'AA==' } };
    expect(await watcher.next()).toEqual(frame);
    const late = await connected(dialWatch(rig, null));
    await late.next();
    expect(await late.next()).toEqual(frame);
    expect((await view(rig)).last_event).toBe(before);
  });

  it('is dropped alone when it is too large', async () => {
    const { channel } = await open();
    channel.say(preview({ data_base64: 'A'.repeat(64 * 1024 + 1) }));
    channel.say(preview({ content_type: 5 }));
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
  });

  it('is not shown for the next attempt', async () => {
    const clock = frozenClock();
    const { rig, channel } = await open();
    const watcher = await connected(dialWatch(rig, null));
    await watcher.next();
    channel.say(preview());
    await watcher.next();
    channel.socket.close(1000);
    await until(async () => expect(await lostAt(rig)).not.toBeNull());
    clock.pass(30_000);
    await rig.stub.rearm();
    const late = await connected(dialWatch(rig, null));
    expect(await late.next()).toMatchObject({ event: 'snapshot', data: { status: 'queued' } });
    const claim = crypto.randomUUID();
    await claimAttempt(rig, claim, 2);
    expect(await late.next()).toMatchObject({ event: 'status', data: { status: 'running', attempt: 2 } });
  });
});

/** Whether the object has noticed that the channel is gone: it then asks RunPod. */
const lostAt = async (harness: JobHarness): Promise<number | null> => {
  await drained(harness);
  return runInDurableObject(harness.object, (_job, state) => {
    const row = state.storage.sql.exec<{ state: string }>('SELECT state FROM job').one();
    return (JSON.parse(row.state) as { attempts: { lost_at: number | null }[] }).attempts[0]?.lost_at ?? null;
  });
};

describe('a worker whose attempt no longer counts', () => {
  it('is disconnected when the job ends', async () => {
    const { rig, channel } = await open();
    await rig.stub.complete({
      attempt: 1,
      claim: rig.claim,
      last_seq: 0,
      outcome: 'succeeded',
      outputs: [],
      timings: {},
      usage: {},
    });
    expect(await channel.closed).toMatchObject({ code: 4410 });
    expect(await dialChannel(rig, 1, rig.claim)).toBe(410);
  });

  it('is disconnected when a newer attempt begins', async () => {
    const { rig, channel } = await open();
    await rig.stub.complete({
      attempt: 1,
      claim: rig.claim,
      last_seq: 0,
      outcome: 'failed',
      error: { code: 'out_of_memory', message: 'no', at: 'worker', retryable: true },
      outputs: [],
      timings: {},
      usage: {},
    });
    expect(await channel.closed).toMatchObject({ code: 4409 });
    expect(await dialChannel(rig, 1, rig.claim)).toBe(410);
    expect((await view(rig)).attempts).toHaveLength(2);
  });

  it('loses its attempt when it is disconnected for longer than channel_grace', async () => {
    const clock = frozenClock();
    const { rig, channel } = await open();
    channel.socket.close(1001);
    await until(async () => expect(await lostAt(rig)).not.toBeNull());
    clock.pass(29_999);
    await rig.stub.rearm();
    expect((await view(rig)).status).toBe('running');
    clock.pass(1);
    await rig.stub.rearm();
    expect(await view(rig)).toMatchObject({ status: 'queued', attempts: [{ status: 'lost' }, { status: 'waiting' }] });
  });
});

describe('a ping', () => {
  it('is answered without waking the object', async () => {
    const { channel } = await open();
    channel.socket.send('ping');
    expect(await channel.next()).toBe('pong');
  });

  it('is answered after hibernation', async () => {
    const { rig, channel } = await open();
    await evictDurableObject(rig.object);
    await view(rig);
    channel.socket.send('ping');
    expect(await channel.next()).toBe('pong');
  });

  it('marks the worker as lost when it is missing for a minute, although the connection is open', async () => {
    const clock = frozenClock();
    const { rig, channel } = await open();
    clock.pass(59_999);
    await runAlarm(rig);
    await drained(rig);
    expect(await lostAt(rig)).toBeNull();
    clock.pass(1);
    await rig.stub.rearm();
    expect(await channel.closed).toMatchObject({ code: 4008 });
    expect(await lostAt(rig)).toBe(Date.now() + 30_000);
    const back = await connected(dialChannel(rig, 1, rig.claim));
    expect(await back.next()).toEqual({ ack: 0 });
    expect(await lostAt(rig)).toBeNull();
  });

  it('is checked by the alarm also for a job whose run id is unknown', async () => {
    const clock = frozenClock();
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response(null, { status: 502 });
    const harness = await createJob();
    await drained(harness);
    const claim = crypto.randomUUID();
    await claimAttempt(harness, claim, 1);
    const channel = await connected(dialChannel(harness, 1, claim));
    await channel.next();
    // The worker's host dies without a word; only the job's own alarm is left.
    for (let rung = 0; rung < 3 && (await lostAt(harness)) === null; rung += 1) {
      clock.pass(await alarmIn(harness));
      await runAlarm(harness);
    }
    expect(await channel.closed).toMatchObject({ code: 4008 });
    clock.pass(30_000);
    await runAlarm(harness);
    expect(await view(harness)).toMatchObject({
      status: 'queued',
      attempts: [{ status: 'lost' }, { status: 'waiting' }],
    });
  });

  it('keeps an otherwise silent channel open', async () => {
    // Pings carry the time of the runtime, which a test cannot move: the channel is made to look old instead.
    const { rig, channel } = await open();
    channel.socket.send('ping');
    await channel.next();
    await runInDurableObject(rig.object, (_job, state) => {
      for (const socket of state.getWebSockets('channel')) {
        const identity = socket.deserializeAttachment() as { opened_at: number };
        socket.serializeAttachment({ ...identity, opened_at: identity.opened_at - 3_600_000 });
      }
    });
    await rig.stub.rearm();
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
  });
});
