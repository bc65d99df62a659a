import { describe, expect, it } from 'vitest';
import {
  ACCOUNT,
  createClaimedJob,
  connected,
  dialChannel,
  dialWatch,
  fakeRunpod,
  frozenClock,
  newJob,
  harnessOf,
  view,
  type JobSocket,
  type JobHarness,
} from '../../testing/job.ts';

type Numbered = { id: number; event: string };
const ids = (frames: unknown[]): number[] => (frames as Numbered[]).map((frame) => frame.id);
const log = (seq: number) => ({ seq, type: 'log', level: 'info', message: `m${seq}` });

async function busy(messages: number): Promise<{ rig: JobHarness & { claim: string }; channel: JobSocket }> {
  fakeRunpod();
  const harness = await createClaimedJob();
  const channel = await connected(dialChannel(harness, 1, harness.claim));
  await channel.next();
  for (let seq = 1; seq <= messages; seq += 1) {
    await channel.ask(log(seq));
  }
  return { rig: harness, channel };
}

const finish = (harness: JobHarness & { claim: string }) =>
  harness.stub.complete({
    attempt: 1,
    claim: harness.claim,
    last_seq: 0,
    outcome: 'succeeded',
    outputs: [],
    timings: {},
    usage: {},
  });

describe('a watcher', () => {
  it('gets every event after the given one once and in order, stored and live', async () => {
    const { rig: harness, channel } = await busy(3);
    const { last_event } = await view(harness);
    const from = Array.from({ length: last_event + 1 }, (_, after) => after);
    const watchers = await Promise.all(from.map((after) => connected(dialWatch(harness, after))));
    await channel.ask(log(4));
    await finish(harness);
    const end = (await view(harness)).last_event;
    for (const [after, watcher] of watchers.entries()) {
      expect(ids(await watcher.rest())).toEqual(Array.from({ length: end - after }, (_, index) => after + index + 1));
    }
  });

  it('misses and repeats nothing when it joins during a burst', async () => {
    const { rig, channel } = await busy(0);
    for (let seq = 1; seq <= 20; seq += 1) {
      channel.say(log(seq));
    }
    const watchers = await Promise.all(Array.from({ length: 5 }, () => connected(dialWatch(rig, 0))));
    for (let seq = 21; seq <= 40; seq += 1) {
      channel.say(log(seq));
    }
    let acked = 0;
    while (acked < 40) {
      acked = ((await channel.next()) as { ack: number }).ack;
    }
    await finish(rig);
    const end = (await view(rig)).last_event;
    for (const watcher of watchers) {
      expect(ids(await watcher.rest())).toEqual(Array.from({ length: end }, (_, index) => index + 1));
    }
  });

  it('begins with a snapshot whose id is the last event, when it names none', async () => {
    const { rig } = await busy(2);
    const watcher = await connected(dialWatch(rig, null));
    const { last_event } = await view(rig);
    expect(await watcher.next()).toMatchObject({ event: 'snapshot', id: last_event, data: { status: 'running' } });
    await finish(rig);
    expect(await watcher.next()).toMatchObject({ event: 'status', id: last_event + 1, data: { status: 'succeeded' } });
    expect(await watcher.closed).toMatchObject({ code: 1000 });
  });

  it('gets the rest and the end of a finished job, then 204', async () => {
    const { rig } = await busy(1);
    await finish(rig);
    const { last_event } = await view(rig);
    expect(ids(await (await connected(dialWatch(rig, null))).rest())).toEqual([last_event]);
    expect(ids(await (await connected(dialWatch(rig, last_event - 1))).rest())).toEqual([last_event]);
    expect(await dialWatch(rig, last_event)).toBe(204);
    expect(await dialWatch(rig, last_event + 100)).toBe(204);
  });

  it('is rejected with an event id that does not exist yet', async () => {
    const { rig } = await busy(1);
    const { last_event } = await view(rig);
    expect(await dialWatch(rig, last_event + 1)).toBe(400);
    await connected(dialWatch(rig, last_event));
  });

  it('is accepted for its own account only', async () => {
    const { rig } = await busy(0);
    expect(await dialWatch(rig, null, 'other')).toBe(404);
    expect(await dialWatch(harnessOf(newJob().id), null)).toBe(404);
  });

  it('disturbs neither the job nor other watchers when it disconnects', async () => {
    const { rig, channel } = await busy(0);
    const [gone, stays] = await Promise.all([connected(dialWatch(rig, 0)), connected(dialWatch(rig, 0))]);
    gone.socket.close(1000);
    expect(await channel.ask(log(1))).toEqual({ ack: 1 });
    await finish(rig);
    const end = (await view(rig)).last_event;
    expect(ids(await stays.rest())).toEqual(Array.from({ length: end }, (_, index) => index + 1));
  });

  it('gets fewer previews the more watchers there are; the last is kept for new ones', async () => {
    const clock = frozenClock();
    const { rig, channel } = await busy(0);
    const watchers = await Promise.all(Array.from({ length: 40 }, () => connected(dialWatch(rig, null))));
    await Promise.all(watchers.map((watcher) => watcher.next()));
    const preview = (node_id: string) => ({
      event: 'preview',
      data: { node_id, content_type: 'image/png', data_base64: 'A'.repeat(60_000) },
    });
    const shown = async (node_id: string): Promise<void> => {
      const { event, data } = preview(node_id);
      channel.say({ type: event, ...data });
      // Answered after it: by then the preview has been passed on, or has not.
      await channel.ask(log(Number(node_id)));
    };
    // 40 watchers × 60,000 characters are a seventh of what may be sent in a second.
    await shown('1');
    await shown('2');
    clock.pass(150);
    await shown('3');
    await finish(rig);
    for (const watcher of watchers) {
      const seen = (await watcher.rest()) as { event: string }[];
      expect(seen.filter(({ event }) => event === 'preview')).toEqual([preview('1'), preview('3')]);
      expect(seen.filter(({ event }) => event === 'log')).toHaveLength(3);
    }
  });

  it('gets no frame above 64 KiB for any message, and the job stores all of it', async () => {
    const { rig, channel } = await busy(0);
    const live = await connected(dialWatch(rig, 0));
    const output = (name: string) => ({
      name,
      node_id: '1',
      class_type: 'PreviewAny',
      type: 'text',
      content_type: 'text/plain',
      size_bytes: 16_000,
      sha256: '0'.repeat(64),
      key: null,
      // Six bytes each in JSON.
      text: '\u0001'.repeat(16_000),
      temp: false,
    });
    const said = [
      { seq: 1, type: 'output', output: output('a') },
      { seq: 2, type: 'output', output: output('b') },
      { seq: 3, type: 'progress', value: 0.5, nodes_done: 1, nodes_total: 2, nodes: { 1: 'x'.repeat(200_000) } },
    ];
    for (const message of said) {
      await channel.ask(message);
    }
    const late = await connected(dialWatch(rig, null));
    await finish(rig);
    const frames = [...(await live.rest()), ...(await late.rest())] as { event: string; data: object }[];
    expect(Math.max(...frames.map((frame) => JSON.stringify(frame).length))).toBeLessThan(64 * 1024);
    expect(frames.filter(({ event }) => event === 'output').map(({ data }) => 'text' in data)).toEqual([false, false]);
    expect(frames.find(({ event }) => event === 'snapshot')?.data).toMatchObject({ truncated: ['outputs.text'] });
    expect(frames.find(({ event }) => event === 'progress')?.data).toMatchObject({ value: 0.5 });
  });

  it('cannot send messages of the worker', async () => {
    const { rig } = await busy(0);
    const watcher = await connected(dialWatch(rig, null));
    const { data } = (await watcher.next()) as { data: { last_event: number } };
    watcher.say(log(1));
    watcher.say({ type: 'preview', node_id: '1', content_type: 'image/png', data_base64: 'AA==' });
    await rig.stub.cancel(ACCOUNT);
    expect(await watcher.next()).toMatchObject({
      event: 'status',
      id: data.last_event + 1,
      data: { status: 'canceling' },
    });
  });
});
