import type { ServerResponse } from 'node:http';
import { array, assert, asyncProperty, integer } from 'fast-check';
import { expect, test } from 'vitest';
import { ComfyEdge, type JobEvent } from './index.ts';
import { JOB_ID, KEY, LOG, sampleJob, sseOf } from './testing/samples.ts';
import { type Asked, serve } from './testing/server.ts';
import { testTiming } from './testing/timing.ts';

/** Sends the log after the client's last event, as the gateway does; `cut` closes the connection after that many bytes. */
function stream(asked: Asked, response: ServerResponse, cut = Number.POSITIVE_INFINITY): void {
  const header = asked.headers['last-event-id'];
  const after = header === undefined ? null : Number(header);
  const follows = LOG.filter((event) => 'id' in event && event.id > (after ?? 0));
  if (after !== null && follows.length === 0) {
    response.writeHead(204).end();
    return;
  }
  const bytes = Buffer.from(sseOf(follows));
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  if (cut >= bytes.length) {
    response.end(bytes);
    return;
  }
  response.flushHeaders();
  response.write(bytes.subarray(0, cut), () => response.destroy());
}

async function collect(events: AsyncIterable<JobEvent>): Promise<JobEvent[]> {
  const all: JobEvent[] = [];
  for await (const event of events) {
    all.push(event);
  }
  return all;
}

test('watch yields every event once and in order when the stream is cut at any byte', async () => {
  let cut = 0;
  let connections = 0;
  const { url } = await serve((asked, response) => {
    connections += 1;
    stream(asked, response, connections === 1 ? cut : undefined);
  });
  const whole = Buffer.byteLength(sseOf(LOG));
  for (cut = 0; cut <= whole; cut += 1) {
    connections = 0;
    const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
    expect(await collect(edge.jobs.watch(JOB_ID, { after: 0 }))).toEqual(LOG);
  }
});

test('watch yields every event once and in order over any number of cuts', async () => {
  let cuts: number[] = [];
  const { url } = await serve((asked, response) => stream(asked, response, cuts.shift()));
  await assert(
    asyncProperty(array(integer({ min: 0, max: 900 }), { maxLength: 8 }), async (some) => {
      cuts = [...some];
      const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
      expect(await collect(edge.jobs.watch(JOB_ID, { after: 0 }))).toEqual(LOG);
    }),
    { numRuns: 60 },
  );
});

test('watch without a number starts with a snapshot and reconnects after its last event', async () => {
  const snapshot: JobEvent = { event: 'snapshot', id: 4, data: sampleJob({ last_event: 4 }) };
  const { url, asked } = await serve((request, response) => {
    if (request.headers['last-event-id'] !== undefined) {
      stream(request, response);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sseOf([snapshot]), () => response.destroy());
  });
  const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
  expect(await collect(edge.jobs.watch(JOB_ID))).toEqual([snapshot, ...LOG.slice(4)]);
  expect(asked.map((one) => one.headers['last-event-id'])).toEqual([undefined, '4']);
});

test('watch of a finished job yields one snapshot', async () => {
  const snapshot: JobEvent = {
    event: 'snapshot',
    id: 6,
    data: sampleJob({ status: 'failed', stage: null, last_event: 6 }),
  };
  const { url, asked } = await serve((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sseOf([snapshot]));
  });
  const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
  expect(await collect(edge.jobs.watch(JOB_ID))).toEqual([snapshot]);
  expect(asked).toHaveLength(1);
});

test('watch after the last event ends without an event', async () => {
  const { url } = await serve((asked, response) => stream(asked, response));
  const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
  expect(await collect(edge.jobs.watch(JOB_ID, { after: 6 }))).toEqual([]);
});

test('watch yields previews and skips unknown kinds of events', async () => {
  const preview: JobEvent = {
    event: 'preview',
    data: { node_id: '5', content_type: 'image/jpeg', data_base64: 'AA==' },
  };
  const [first, ...rest] = LOG;
  const { url } = await serve((_, response) => {
    const unknown = 'id: 1\nevent: weather\ndata: {"sun": true}\n\n';
    response.writeHead(200).end(`${sseOf(first === undefined ? [] : [first])}${unknown}${sseOf([preview, ...rest])}`);
  });
  const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
  expect(await collect(edge.jobs.watch(JOB_ID, { after: 0 }))).toEqual([first, preview, ...rest]);
});

test('watch retries after errors of the gateway, with a longer wait each time', async () => {
  let failures = 4;
  const { url } = await serve((asked, response) => {
    if (failures > 0) {
      failures -= 1;
      response.writeHead(503).end();
      return;
    }
    stream(asked, response);
  });
  const timing = testTiming();
  const edge = new ComfyEdge({ url, key: KEY, timing });
  expect(await collect(edge.jobs.watch(JOB_ID, { after: 0 }))).toEqual(LOG);
  expect(timing.waits).toEqual([50, 100, 200, 400]);
});

test('watch of an unknown job throws the gateway’s error', async () => {
  const { url, asked } = await serve((_, response) => {
    response.writeHead(404, { 'content-type': 'application/problem+json' });
    response.end(JSON.stringify({ title: 'Not found', status: 404, detail: 'No such job', code: 'job_not_found' }));
  });
  const edge = new ComfyEdge({ url, key: KEY, timing: testTiming() });
  await expect(collect(edge.jobs.watch(JOB_ID))).rejects.toMatchObject({ name: 'ApiError', code: 'job_not_found' });
  expect(asked).toHaveLength(1);
});

test('watch throws after five minutes without the gateway', async () => {
  const timing = testTiming();
  const absent = () => Promise.reject(new TypeError('fetch failed'));
  const edge = new ComfyEdge({ url: 'http://gateway.invalid', key: KEY, timing, fetch: absent });
  await expect(collect(edge.jobs.watch(JOB_ID))).rejects.toMatchObject({ name: 'ConnectionError' });
  expect(timing.now()).toBeGreaterThan(5 * 60_000);
  expect(timing.now()).toBeLessThan(5 * 60_000 + 5_001);
});

test('watch reconnects when its connection is silent', async () => {
  const timing = testTiming();
  let connections = 0;
  const { url } = await serve((asked, response) => {
    connections += 1;
    if (connections > 1) {
      stream(asked, response);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sseOf(LOG.slice(0, 2)));
  });
  const seen: JobEvent[] = [];
  for await (const event of new ComfyEdge({ url, key: KEY, timing }).jobs.watch(JOB_ID, { after: 0 })) {
    seen.push(event);
    if (seen.length === 2) {
      timing.fallSilent();
    }
  }
  expect(seen).toEqual(LOG);
  expect(connections).toBe(2);
});

test('watch that is aborted throws the reason and closes its connection', async () => {
  const stop = new AbortController();
  const reason = new Error('enough');
  const closed = Promise.withResolvers<void>();
  const { url } = await serve((_, response) => {
    response.on('close', () => closed.resolve());
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sseOf(LOG.slice(0, 1)));
  });
  const watching = async () => {
    for await (const event of new ComfyEdge({ url, key: KEY, timing: testTiming() }).jobs.watch(JOB_ID, {
      after: 0,
      signal: stop.signal,
    })) {
      expect(event).toEqual(LOG[0]);
      stop.abort(reason);
    }
  };
  await expect(watching()).rejects.toBe(reason);
  await closed.promise;
});

test('watch closes its connection when its loop ends early', async () => {
  const closed = Promise.withResolvers<void>();
  const { url } = await serve((_, response) => {
    response.on('close', () => closed.resolve());
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(sseOf(LOG.slice(0, 3)));
  });
  for await (const event of new ComfyEdge({ url, key: KEY, timing: testTiming() }).jobs.watch(JOB_ID, { after: 0 })) {
    expect(event).toEqual(LOG[0]);
    break;
  }
  await closed.promise;
});
