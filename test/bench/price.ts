import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { isFinal } from '../../clients/sdk/index.ts';
import { quickGraph, slowGraph, startPlatform } from '../e2e/platform.ts';
import { markdown } from './table.ts';

/** The job of the aim: a minute on the GPU, with progress five times a second and one watcher. */
const SECONDS = 60;
const STEPS = 300;
const WATCH_MS = 180_000;
/** What a job still does after its end is told: projection, release, notices. Counting ends when nothing moved for this long. */
const QUIET_MS = 5_000;

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
export async function measurePrice(root: string, signal: AbortSignal): Promise<string> {
  const platform = await startPlatform({
    policy: {},
    gatewayEntry: `${root}/src/testing/metered-gateway.ts`,
  });
  try {
    const { edge } = platform;
    // Isolate, key and worker are warm: a busy gateway is what is priced.
    await follow(edge, quickGraph, signal);
    await settledCounts(platform.url, signal);
    await fetch(`${platform.url}/meter`, { method: 'DELETE', signal });
    const before = cpuMs(platform.gateway.pid);
    const job = await follow(edge, slowGraph(SECONDS, STEPS), signal);
    const [output] = job.outputs;
    if (output?.url === undefined || output.url === null) {
      throw new Error('the job has no output');
    }
    const content = await fetch(output.url, { headers: { authorization: `Bearer ${platform.key}` }, signal });
    await content.arrayBuffer();
    const counts = await settledCounts(platform.url, signal);
    const cpu = cpuMs(platform.gateway.pid) - before;
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
async function settledCounts(url: string, signal: AbortSignal): Promise<Counts> {
  for (let last = ''; ;) {
    const counts = meterSchema.parse(await (await fetch(`${url}/meter`, { signal })).json());
    const now = JSON.stringify(counts);
    if (now === last) {
      return counts;
    }
    last = now;
    await delay(QUIET_MS, undefined, { signal });
  }
}

/**
 * CPU time of the gateway's workerd so far, in ms: more than Cloudflare would count, since the local D1, R2 and proxy run in it too.
 * NaN where the system does not tell.
 */
function cpuMs(group: number): number {
  try {
    const processes = execFileSync('pgrep', ['-g', String(group), 'workerd'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const perSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
    const ticks = processes.map((pid) => {
      // After the name, which may hold spaces: fields 14 and 15 of the line, user and system.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return Number(fields[11]) + Number(fields[12]);
    });
    return (ticks.reduce((sum, one) => sum + one, 0) / perSecond) * 1000;
  } catch {
    return Number.NaN;
  }
}

function render(counts: Counts, cpu: number): string {
  const usd = (item: Item): number => (counts[item] ?? Number.NaN) * PRICES[item] * 1000;
  const rows = ITEMS.map((item) => [WHAT[item], (counts[item] ?? Number.NaN).toFixed(0), usd(item).toFixed(4)]);
  const total = ITEMS.reduce((sum, item) => sum + usd(item), 0);
  const cpuUsd = cpu * CPU_MS_PRICE * 1000;
  return markdown([
    ['', 'one job', '$ per 1,000 jobs'],
    ...rows,
    ['sum', '', total.toFixed(4)],
    ['Worker and objects: CPU ms, at most (local D1 and R2 included)', cpu.toFixed(0), cpuUsd.toFixed(4)],
    ['with CPU', '', (total + cpuUsd).toFixed(4)],
  ]);
}
