import { runInDurableObject } from 'cloudflare:test';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { Hono } from 'hono';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { WatchFrame } from '../../contract/events.ts';
import { newClient, problemOf, type Call } from '../../testing/gateway.ts';
import {
  createClaimedJob,
  connected,
  createJob,
  dialChannel,
  fakeRunpod,
  drained,
  until,
  type JobSocket,
  type JobHarness,
} from '../../testing/job.ts';
import { KEEPALIVE_MS, MAX_PENDING_CHARS, RETRY_MS, sse } from './sse.ts';

type Seen = { id: string | undefined; event: string | undefined; data: unknown };

/** Reads a stream event by event, as a client does. */
class Reader {
  private readonly reader;
  constructor(response: Response) {
    if (response.body === null) {
      throw new Error('no stream');
    }
    this.reader = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream())
      .getReader();
  }

  async next(): Promise<Seen | null> {
    const { done, value } = await this.reader.read();
    return done ? null : { id: value.id, event: value.event, data: JSON.parse(value.data) };
  }

  async rest(): Promise<Seen[]> {
    const seen: Seen[] = [];
    for (let event = await this.next(); event !== null; event = await this.next()) {
      seen.push(event);
    }
    return seen;
  }

  async leave(): Promise<void> {
    await this.reader.cancel();
  }
}

async function watched(): Promise<{
  call: Call;
  rig: JobHarness & { claim: string };
  channel: JobSocket;
  events: string;
  end: () => Promise<unknown>;
}> {
  fakeRunpod();
  const { account, call } = await newClient();
  const harness = await createClaimedJob({ account });
  const channel = await connected(dialChannel(harness, 1, harness.claim));
  await channel.next();
  const end = () =>
    harness.stub.complete({
      attempt: 1,
      claim: harness.claim,
      last_seq: 0,
      outcome: 'succeeded',
      outputs: [],
      timings: {},
      usage: {},
    });
  return { call, rig: harness, channel, events: `/v1/jobs/${harness.id}/events`, end };
}

/** Line ends of Unicode that are none in SSE, but are in the `splitlines` of some clients. */
const UNICODE_LINE_ENDS = 'a\u0085b\u2028c\u2029d';

it('the stream of a job escapes line ends of Unicode in its events', async () => {
  const { call, channel, events, end } = await watched();
  const first = { id: '1', type: 'image', content_type: 'image/png', size_bytes: 1, sha256: 'a'.repeat(64), key: null };
  channel.say({ seq: 1, type: 'log', level: 'info', message: UNICODE_LINE_ENDS });
  channel.say({
    seq: 2,
    type: 'output',
    output: { ...first, name: `${UNICODE_LINE_ENDS}.png`, node_id: '2', text: '' },
  });
  await end();
  const text = await (await call(`${events}?after=0`)).text();
  expect(text).not.toMatch(/[\u0085\u2028\u2029]/);
  const data = text.split('\n').filter((line) => line.startsWith('data: '));
  expect(data.map((line): unknown => JSON.parse(line.slice('data: '.length)))).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ message: UNICODE_LINE_ENDS }),
      expect.objectContaining({ name: `${UNICODE_LINE_ENDS}.png` }),
    ]),
  );
});

const log = (seq: number) => ({ seq, type: 'log', level: 'info', message: `line ${seq}\r\nand more` });

describe('the events of a job', () => {
  it('resume after every event, in order and each once', async () => {
    const { call, channel, events, end } = await watched();
    for (let seq = 1; seq <= 4; seq += 1) {
      await channel.ask(log(seq));
    }
    await channel.ask({ seq: 5, type: 'progress', value: 0.5, nodes_done: 1, nodes_total: 2 });
    await end();
    const whole = await new Reader(await call(`${events}?after=0`)).rest();
    expect(whole.map((event) => event.id)).toEqual(whole.map((_, index) => String(index + 1)));
    for (let cut = 0; cut < whole.length; cut += 1) {
      const rest = await new Reader(await call(events, { headers: { 'last-event-id': String(cut) } })).rest();
      expect([...whole.slice(0, cut), ...rest]).toEqual(whole);
    }
    expect(whole.at(-1)).toMatchObject({ event: 'status', data: { status: 'succeeded', stage: null } });
  });

  it('begin with a snapshot and continue live without Last-Event-ID', async () => {
    const { call, channel, events, end } = await watched();
    const response = await call(events);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    const reader = new Reader(response);
    const snapshot = await reader.next();
    expect(snapshot).toMatchObject({ event: 'snapshot', data: { object: 'job', status: 'running' } });
    await channel.ask(log(1));
    expect(await reader.next()).toEqual({
      id: String(Number(snapshot?.id) + 1),
      event: 'log',
      data: { level: 'info', message: 'line 1\r\nand more', at: expect.any(String) },
    });
    channel.say({ type: 'preview', node_id: '3', content_type: 'image/png', data_base64: 'AA==' });
    expect(await reader.next()).toEqual({
      id: undefined,
      event: 'preview',
      data: { node_id: '3', content_type: 'image/png', data_base64: 'AA==' },
    });
    await end();
    expect(await reader.next()).toMatchObject({ event: 'status', data: { status: 'succeeded' } });
    expect(await reader.next()).toBeNull();
  });

  it('are a 204 for a client that has them all, and refuse a future number', async () => {
    const { call, events, end } = await watched();
    expect((await problemOf(await call(`${events}?after=99`))).code).toBe('invalid_cursor');
    await end();
    const last = (await new Reader(await call(`${events}?after=0`)).rest()).at(-1)?.id ?? '';
    const again = await call(events, { headers: { 'last-event-id': last } });
    expect(again.status).toBe(204);
    expect(again.body).toBeNull();
  });

  it('lose their watcher at the first write after the client left', async () => {
    const { call, rig: harness, channel, events } = await watched();
    const readers = [new Reader(await call(events)), new Reader(await call(events))];
    await Promise.all(readers.map((reader) => reader.next()));
    const watchers = () =>
      runInDurableObject(
        harness.object,
        (_job, state) => state.getWebSockets('watch').filter((socket) => socket.readyState === WebSocket.OPEN).length,
      );
    expect(await watchers()).toBe(2);
    await readers[0]?.leave();
    await channel.ask(log(1));
    await until(async () => expect(await watchers()).toBe(1));
    await readers[1]?.leave();
    await channel.ask(log(2));
    await until(async () => expect(await watchers()).toBe(0));
  });

  it('are not found by another account', async () => {
    fakeRunpod();
    const harness = await createJob();
    await drained(harness);
    const { call } = await newClient();
    expect((await problemOf(await call(`/v1/jobs/${harness.id}/events`))).code).toBe('not_found');
  });
});

/** A stream over a socket whose other end is the test's. */
async function streamed(
  isStillAuthorized = (): Promise<boolean> => Promise.resolve(true),
): Promise<{ server: WebSocket; response: Response; send: (frame: WatchFrame) => void }> {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  const app = new Hono().get('/', (c) =>
    sse(c, client, { rendered: new Set(), render: (frame) => frame.data, isStillAuthorized }),
  );
  return { server, response: await app.request('/'), send: (frame) => server.send(JSON.stringify(frame)) };
}

const closing = (socket: WebSocket): Promise<number> =>
  new Promise((resolve) => {
    socket.addEventListener('close', (event) => resolve(event.code));
  });

const line = (id: number, message = ''): WatchFrame => ({ id, event: 'log', data: { level: 'info', message, at: '' } });

describe('a stream', () => {
  it('begins with the retry time and sends keep-alives', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const { server, response } = await streamed();
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect(await reader?.read()).toMatchObject({ value: `retry: ${RETRY_MS}\n\n` });
    for (let beats = 0; beats < 3; beats += 1) {
      const beat = reader?.read();
      vi.advanceTimersByTime(KEEPALIVE_MS);
      expect(await beat).toMatchObject({ value: ': keepalive\n\n' });
    }
    server.close(1000);
    expect(await reader?.read()).toMatchObject({ done: true });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('delivers what the object had sent before it closed', async () => {
    const { server, response, send } = await streamed();
    for (let id = 1; id <= 50; id += 1) {
      send(line(id));
    }
    server.close(1000);
    expect((await new Reader(response).rest()).map((event) => event.id)).toEqual(
      Array.from({ length: 50 }, (_, index) => String(index + 1)),
    );
  });

  it("closes the object's socket when the client leaves", async () => {
    const { server, response } = await streamed();
    const closed = closing(server);
    const reader = new Reader(response);
    await reader.leave();
    expect(await closed).toBe(1000);
  });

  it('disconnects a client that falls too far behind, without a gap before that', async () => {
    const { server, response, send } = await streamed();
    const closed = closing(server);
    const size = MAX_PENDING_CHARS / 16;
    for (let id = 1; id <= 20; id += 1) {
      send(line(id, 'x'.repeat(size)));
    }
    expect(await closed).toBe(1000);
    const ids = (await new Reader(response).rest()).map((event) => Number(event.id));
    expect(ids.length).toBeGreaterThan(10);
    expect(ids.length).toBeLessThan(20);
    expect(ids).toEqual(ids.map((_, index) => index + 1));
  });

  it('skips only previews for a slow client', async () => {
    const { server, response, send } = await streamed();
    const preview: WatchFrame = {
      event: 'preview',
      data: { node_id: '1', content_type: 'image/png', data_base64: 'AA==' },
    };
    const closed = closing(server);
    send(line(1, 'x'.repeat(600_000)));
    send(preview);
    send(line(2, 'x'.repeat(600_000)));
    send(preview);
    // Too much for anybody: the cut says that all before it has arrived.
    send(line(3, 'x'.repeat(MAX_PENDING_CHARS)));
    await closed;
    const seen = await new Reader(response).rest();
    expect(seen.map((event) => event.event)).toEqual(['log', 'log']);
  });
});
