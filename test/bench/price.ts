import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { isFinal } from '../../clients/sdk/index.ts';
import { quickGraph, slowGraph, startPlatform } from '../e2e/platform.ts';
import { workerdMs } from './processor-time.ts';
import { markdown } from './table.ts';

/**
 * The job that is priced. `quiet_ms`: what a job still does after its end (projection, release, notices) is over when nothing was
 * counted for this long.
 */
type Size = { seconds: number; steps: number; quiet_ms: number };
/** The job of the aim: a minute on the GPU, with progress five times a second and one watcher. */
const FULL: Size = { seconds: 60, steps: 300, quiet_ms: 5_000 };
const SHORT: Size = { seconds: 0.2, steps: 2, quiet_ms: 500 };
const WATCH_MS = 180_000;

/**
 * List prices in US dollars per unit, without what a plan includes. developers.cloudflare.com, read 2026-11: workers/platform/pricing,
 * durable-objects/platform/pricing, d1/platform/pricing, r2/pricing.
 */
const MILLION = 1_000_000;
const MESSAGES_PER_REQUEST = 20;
const GB_PER_OBJECT = 0.128;
const PRICES = {
  workerRequests: 0.3 / MILLION,
  objectRequests: 0.15 / MILLION,
  objectMessages: 0.15 / MILLION / MESSAGES_PER_REQUEST,
  objectMs: (12.5 / MILLION / 1000) * GB_PER_OBJECT,
  objectRowsRead: 0.001 / MILLION,
  objectRowsWritten: 1 / MILLION,
  d1RowsRead: 0.001 / MILLION,
  d1RowsWritten: 1 / MILLION,
  r2ClassA: 4.5 / MILLION,
  r2ClassB: 0.36 / MILLION,
} as const;
const CPU_MS_PRICE = 0.02 / MILLION;
type Item = keyof typeof PRICES;

const WHAT: Record<Item, string> = {
  workerRequests: 'Worker: requests',
  objectRequests: 'objects: calls, upgrades, alarms',
  objectMessages: 'objects: WebSocket messages in (20 = 1 request)',
  objectMs: 'objects: active, ms at 128 MB',
  objectRowsRead: 'objects: rows read',
  objectRowsWritten: 'objects: rows written, alarms set',
  d1RowsRead: 'D1: rows read',
  d1RowsWritten: 'D1: rows written, indexes included',
  r2ClassA: 'R2: class A (writes), the upload of the output included',
  r2ClassB: 'R2: class B (reads)',
};
const ITEMS = Object.keys(WHAT) as Item[];

const meterSchema = z.record(z.string(), z.number());
type Counts = z.infer<typeof meterSchema>;

/** Counts what Cloudflare bills for one job of a minute that one client submits, watches and fetches, and prices it. */
export async function measurePrice(root: string, signal: AbortSignal, short: boolean): Promise<string> {
  const { seconds, steps, quiet_ms } = short ? SHORT : FULL;
  const platform = await startPlatform({
    policy: {},
    gatewayEntry: `${root}/src/testing/metered-gateway.ts`,
  });
  try {
    const { edge } = platform;
    // Isolate, key and worker are warm, as in a busy gateway.
    await follow(edge, quickGraph, signal);
    await settledCounts(platform.url, quiet_ms, signal);
    await fetch(`${platform.url}/meter`, { method: 'DELETE', signal });
    const before = workerdMs(platform.gateway.pid);
    const job = await follow(edge, slowGraph(seconds, steps), signal);
    const [output] = job.outputs;
    if (output?.url === undefined || output.url === null) {
      throw new Error('the job has no output');
    }
    const content = await fetch(output.url, { headers: { authorization: `Bearer ${platform.key}` }, signal });
    await content.arrayBuffer();
    const counts = await settledCounts(platform.url, quiet_ms, signal);
    const after = workerdMs(platform.gateway.pid);
    // More than Cloudflare would count: the local D1 and R2 and wrangler's proxy are in it.
    const cpu = before === null || after === null ? null : after - before;
    // Straight to R2, past the gateway: each output is one PUT.
    return render({ ...counts, r2ClassA: (counts['r2ClassA'] ?? 0) + job.outputs.length }, cpu);
  } finally {
    await platform.stop();
  }
}

type Edge = Awaited<ReturnType<typeof startPlatform>>['edge'];

async function follow(edge: Edge, workflow: Record<string, unknown>, signal: AbortSignal) {
  const { id } = await edge.jobs.submit({ workflow });
  const giveUp = AbortSignal.any([signal, AbortSignal.timeout(WATCH_MS)]);
  for await (const event of edge.jobs.watch(id, { after: 0, signal: giveUp })) {
    if (event.event === 'status' && isFinal(event.data.status) && event.data.status !== 'succeeded') {
      throw new Error(`the job ended ${event.data.status}`);
    }
  }
  return edge.jobs.get(id);
}

/** The counts once nothing has moved for a while. */
async function settledCounts(url: string, quiet_ms: number, signal: AbortSignal): Promise<Counts> {
  for (let last = ''; ;) {
    const counts = meterSchema.parse(await (await fetch(`${url}/meter`, { signal })).json());
    const now = JSON.stringify(counts);
    if (now === last) {
      return counts;
    }
    last = now;
    await delay(quiet_ms, undefined, { signal });
  }
}

function render(counts: Counts, cpu: number | null): string {
  const usd = (item: Item): number => (counts[item] ?? Number.NaN) * PRICES[item] * 1000;
  const rows = ITEMS.map((item) => [WHAT[item], (counts[item] ?? Number.NaN).toFixed(0), usd(item).toFixed(4)]);
  const total = ITEMS.reduce((sum, item) => sum + usd(item), 0);
  const cpuUsd = (cpu ?? 0) * CPU_MS_PRICE * 1000;
  const withCpu = [
    ['Worker and objects: CPU ms, at most (local D1 and R2 included)', (cpu ?? 0).toFixed(0), cpuUsd.toFixed(4)],
    ['with CPU', '', (total + cpuUsd).toFixed(4)],
  ];
  return markdown([
    ['', 'one job', '$ per 1,000 jobs'],
    ...rows,
    ['sum', '', total.toFixed(4)],
    ...(cpu === null ? [] : withCpu),
  ]);
}
