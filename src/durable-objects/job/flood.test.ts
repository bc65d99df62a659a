import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import type { LogEvent } from '../../contract/events.ts';
import { MAX_LOG_MESSAGES } from '../../domain/job/worker-messages.ts';
import {
  ACCOUNT,
  createClaimedJob,
  connected,
  dialChannel,
  dialWatch,
  fakeRunpod,
  frozenClock,
  view,
  type JobSocket,
  type JobHarness,
} from '../../testing/job.ts';
import { FRAME_BURST, FRAMES_PER_S, FrameBudget, MAX_DROPPED_FRAMES } from './frame-budget.ts';

/** A worker that sends more than a worker has to say. */

async function open(): Promise<{
  rig: JobHarness & { claim: string };
  channel: JobSocket;
  clock: ReturnType<typeof frozenClock>;
}> {
  fakeRunpod();
  const clock = frozenClock();
  const harness = await createClaimedJob();
  const channel = await connected(dialChannel(harness, 1, harness.claim));
  await channel.next();
  return { rig: harness, channel, clock };
}

const log = (seq: number) => ({ seq, type: 'log', level: 'info', message: `message ${seq}` });
const sync = (seq: number) => ({ seq, type: 'sync' });
/** Costs no write, unlike most others. */
const progress = (seq: number) => ({ seq, type: 'progress', value: 0.5, nodes_done: 1, nodes_total: 2 });

/**
 * Sends `count` frames from number `first` on, and waits until the object has read them. Returns the last stored
 * number.
 */
async function flood(
  channel: JobSocket,
  first: number,
  count: number,
  frame: (seq: number) => object,
): Promise<unknown> {
  for (let seq = first; seq < first + count; seq += 1) {
    channel.say(frame(seq));
  }
  // Out of order, so it is answered at once, after the frames before it.
  channel.say(sync(first + count + 1));
  for (;;) {
    const answer = await channel.next();
    if (Object(answer).resend === true) {
      return answer;
    }
  }
}

/** The events of the log, as a new watcher gets them. */
async function logged(harness: JobHarness): Promise<LogEvent[]> {
  const watch = await connected(dialWatch(harness, 0));
  const { last_event } = await view(harness);
  const events: LogEvent[] = [];
  while (events.length < last_event) {
    events.push((await watch.next()) as LogEvent);
  }
  watch.socket.close();
  return events;
}

describe('log messages of an attempt', () => {
  it('are stored up to MAX_LOG_MESSAGES, the next event says so, and the rest is acknowledged later', async () => {
    const { rig: harness, channel } = await open();
    await flood(channel, 1, MAX_LOG_MESSAGES + 50, log);
    const messages = (await logged(harness)).filter((event) => event.event === 'log');
    expect(messages).toHaveLength(MAX_LOG_MESSAGES + 1);
    expect(messages.at(-1)?.data).toMatchObject({ level: 'warn', message: expect.stringContaining('not kept') });
    expect(await channel.ask(sync(MAX_LOG_MESSAGES + 51))).toEqual({ ack: MAX_LOG_MESSAGES + 51 });
  });
});

describe('frames of a channel beyond FRAME_BURST', () => {
  it('are dropped without a write', async () => {
    const { rig, channel } = await open();
    await flood(channel, 1, FRAME_BURST, progress);
    const written = await rowsWritten(rig);
    await flood(channel, FRAME_BURST + 1, 2_000, sync);
    expect(await rowsWritten(rig)).toBe(written);
    expect((await view(rig)).status).toBe('running');
  });

  it('count against the budget too; frames are processed again once time has refilled it', async () => {
    const { rig, channel, clock } = await open();
    await flood(channel, 1, FRAME_BURST, progress);
    await flood(channel, FRAME_BURST + 1, 500, sync);
    clock.pass((600 / FRAMES_PER_S) * 1_000);
    const next = FRAME_BURST + 501;
    expect(await channel.ask({ seq: next, type: 'stage', stage: 'executing' })).toEqual({ ack: next });
    expect(await view(rig)).toMatchObject({ stage: 'executing' });
  });

  it('report a gap in their numbers', async () => {
    const { channel } = await open();
    await flood(channel, 1, FRAME_BURST, progress);
    expect(await flood(channel, FRAME_BURST + 7, 1, sync)).toMatchObject({ resend: true });
    expect(await channel.next()).toMatchObject({ resend: true });
  });

  it('close the connection after MAX_DROPPED_FRAMES of them, and the next one with its first frame', async () => {
    const { rig, channel } = await open();
    await flood(channel, 1, FRAME_BURST, progress);
    for (let sent = 0; sent < MAX_DROPPED_FRAMES; sent += 1) {
      channel.say(progress(FRAME_BURST + 1 + sent));
    }
    expect(await channel.closed).toEqual({ code: 4400 });
    const again = await connected(dialChannel(rig, 1, rig.claim));
    again.say(progress(1));
    expect(await again.closed).toEqual({ code: 4400 });
  });

  it('are sent to no watcher', async () => {
    const { rig, channel } = await open();
    await flood(channel, 1, FRAME_BURST, progress);
    channel.say({ type: 'preview', node_id: '3', content_type: 'image/png', data_base64: 'AA==' });
    await flood(channel, FRAME_BURST + 1, 1, progress);
    const watch = await connected(dialWatch(rig, null));
    expect(await watch.next()).toMatchObject({ event: 'snapshot' });
    // An accepted preview would be sent to a new watcher.
    await rig.stub.cancel(ACCOUNT);
    expect(await watch.next()).toMatchObject({ event: 'status', data: { status: 'canceling' } });
  });
});

describe('the frame budget', () => {
  const taken = (budget: FrameBudget, now: number, frames: number) => {
    const counts = { act: 0, drop: 0, close: 0 };
    for (let frame = 0; frame < frames; frame += 1) {
      counts[budget.spend(now)] += 1;
    }
    return counts;
  };

  it('allows FRAME_BURST at once, then FRAMES_PER_S per second', () => {
    const budget = new FrameBudget();
    expect(taken(budget, 0, FRAME_BURST)).toEqual({ act: FRAME_BURST, drop: 0, close: 0 });
    expect(taken(budget, 1_000, FRAMES_PER_S + 1)).toEqual({ act: FRAMES_PER_S, drop: 1, close: 0 });
  });

  it('drops MAX_DROPPED_FRAMES more, then closes the connection', () => {
    const budget = new FrameBudget();
    taken(budget, 0, FRAME_BURST);
    expect(taken(budget, 0, MAX_DROPPED_FRAMES + 3)).toEqual({ act: 0, drop: MAX_DROPPED_FRAMES, close: 3 });
  });

  it('refills from any deficit, and not beyond FRAME_BURST when the clock is set back', () => {
    const budget = new FrameBudget();
    taken(budget, 1_000, FRAME_BURST + MAX_DROPPED_FRAMES);
    expect(budget.spend(0)).toBe('close');
    expect(taken(budget, 10_000_000, FRAME_BURST + 1)).toEqual({ act: FRAME_BURST, drop: 1, close: 0 });
  });
});

/** Rows that the object has written since it began. */
const rowsWritten = (harness: JobHarness): Promise<number> =>
  runInDurableObject(
    harness.object,
    (_job, state) => state.storage.sql.exec('SELECT total_changes() AS n').one()['n'] as number,
  );
