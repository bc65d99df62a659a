import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { ensureApiKey } from '../../../local/stack/api-key.ts';
import { startGateway } from '../../../local/stack/gateway.ts';
import { valueOf } from '../../../local/stack/outcome.ts';
import { claimPort } from '../../../local/stack/ports.ts';
import { readSecrets } from '../../../local/stack/secrets.ts';
import { newStateDirectory } from '../../../local/stack/testing/state.ts';
import { startRunpodStub } from '../submit/runpod-stub.ts';
import { markdown } from '../table.ts';
import { openInspector, type Heap, type Inspector } from './inspector.ts';

/** Most that requests may add to an idle isolate, of whose 128 MB other requests live too, in MB. */
const AIM_MB = 20;
/** How often the heap is looked at, in ms. */
const SAMPLE_MS = 1;

type Size = { bytes: number; atOnce: readonly number[] };
const FULL: Size = { bytes: 32_000_000, atOnce: [1, 4] };
const SHORT: Size = { bytes: 2_000_000, atOnce: [2] };

const GRAPH = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

type Sent = { path: string; type: string; body: Buffer; status: number };

/** A new random picture. */
function picture(bytes: number): Buffer {
  const content = randomBytes(bytes);
  PNG.copy(content);
  return content;
}

const jobOf = (pictures: readonly Buffer[]) => ({
  workflow: GRAPH,
  inputs: pictures.map((content, at) => ({ name: `${at}.png`, data: content.toString('base64') })),
});
const json = (path: string, status: number, body: unknown): Sent => ({
  path,
  type: 'application/json',
  status,
  body: Buffer.from(JSON.stringify(body)),
});

/** Every way in which a request can be large, each with a body of about `bytes` bytes. Base64 is a third longer than its content. */
const REQUESTS: Readonly<Record<string, (bytes: number) => Sent>> = {
  'a job with one picture': (bytes) => json('/v1/jobs', 201, jobOf([picture((bytes * 3) / 4 - 1000)])),
  'a job with 30 pictures': (bytes) =>
    json('/v1/jobs', 201, jobOf(Array.from({ length: 30 }, () => picture(bytes / 40 - 200)))),
  'a dry run with one picture': (bytes) => json('/v1/jobs/dry-run', 200, jobOf([picture((bytes * 3) / 4 - 1000)])),
  'a batch of 10 jobs with one picture each': (bytes) =>
    json('/v1/jobs/batch', 200, { jobs: Array.from({ length: 10 }, () => jobOf([picture((bytes * 3) / 40 - 1000)])) }),
  'a job with text instead, refused': (bytes) =>
    json('/v1/jobs', 413, { workflow: { '1': { class_type: 'A', inputs: { a: 'x'.repeat(bytes) } } } }),
  'a file': (bytes) => ({ path: '/v1/assets', type: 'application/octet-stream', status: 201, body: picture(bytes) }),
  'a form': (bytes) => ({
    path: '/v1/assets',
    type: 'multipart/form-data; boundary=b',
    status: 201,
    body: Buffer.concat([
      Buffer.from('--b\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'),
      picture(bytes),
      Buffer.from('\r\n--b--\r\n'),
    ]),
  }),
};

/**
 * What large requests add to the heap of the isolate that has the gateway and all its objects. Garbage counts: it is there until V8
 * collects it, and workerd on this machine has no limit at which it must.
 */
export async function measureMemory(root: string, signal: AbortSignal, short: boolean): Promise<string> {
  const { bytes, atOnce } = short ? SHORT : FULL;
  const directory = await newStateDirectory('memory');
  const runpod = await startRunpodStub();
  const stops: (() => Promise<void>)[] = [runpod.stop];
  try {
    const secrets = readSecrets(directory);
    const inspectorPort = await anyPort();
    const gateway = valueOf(
      await startGateway({
        root,
        directory,
        port: await anyPort(),
        runpodUrl: runpod.url,
        endpoints: { default: { runpod_id: 'ep', environment: 'any' } },
        secrets,
        policy: {},
        limits: { jobs_in_flight: 1000, submits_per_minute: 1000 },
        inspectorPort,
        signal,
      }),
    );
    stops.push(gateway.stop);
    const key = valueOf(await ensureApiKey(gateway.url, directory, secrets, signal));
    const inspector = await openInspector(inspectorPort, async () => {
      await (await fetch(`${gateway.url}/healthz`, { signal })).arrayBuffer();
    });
    stops.push(() => Promise.resolve(inspector.close()));
    const rows: string[][] = [];
    for (const [what, request_] of Object.entries(REQUESTS)) {
      for (const count of atOnce) {
        rows.push([
          what,
          ...(await measure(
            inspector,
            gateway.url,
            key,
            Array.from({ length: count }, () => request_(bytes)),
          )),
        ]);
      }
    }
    return markdown([['MB', 'body', 'at once', 'aim', 'over idle', 'idle', 'peak', 'values', 'buffers'], ...rows]);
  } finally {
    for (const stop of stops.toReversed()) {
      await stop();
    }
    rmSync(directory, { recursive: true, force: true });
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
const total = ({ values, buffers }: Heap): number => values + buffers;

/** One row: the peak of the heap during these requests, and the heap before them. */
async function measure(inspector: Inspector, url: string, key: string, requests: readonly Sent[]): Promise<string[]> {
  await inspector.collect();
  const idle = total(await inspector.heap());
  let peak: Heap = { values: 0, buffers: 0 };
  const over = new AbortController();
  const sampling = (async () => {
    while (!over.signal.aborted) {
      const heap = await inspector.heap();
      peak = total(heap) > total(peak) ? heap : peak;
      await delay(SAMPLE_MS);
    }
  })();
  await Promise.all(requests.map((each) => send(url, key, each))).finally(() => over.abort());
  await sampling;
  const [first] = requests;
  return [
    megabytes(first?.body.length ?? 0),
    String(requests.length),
    // What is refused was read as far as the limit of a document.
    first?.status === 413 ? '' : `≤ ${AIM_MB}`,
    megabytes(total(peak) - idle),
    megabytes(idle),
    megabytes(total(peak)),
    megabytes(peak.values),
    megabytes(peak.buffers),
  ];
}

/** Throws on any answer but the expected one: a refusal needs no memory. */
function send(url: string, key: string, { path, type, body, status }: Sent): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': type, 'content-length': body.length };
    const sending = request(`${url}${path}`, { method: 'POST', headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece: string) => (text += piece));
      answer.on('error', reject);
      answer.on('end', () =>
        answer.statusCode === status
          ? resolve()
          : reject(new Error(`${path} answered ${answer.statusCode}: ${text.slice(0, 300)}`)),
      );
    });
    sending.on('error', reject);
    sending.end(body);
  });
}

const anyPort = async (): Promise<number> =>
  valueOf(await claimPort({ port: 0, purpose: 'a benchmark', variable: 'GATEWAY_PORT' }));
