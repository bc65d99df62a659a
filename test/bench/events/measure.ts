import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { waitUntilReady, wranglerProgram } from '../../../local/stack/gateway.ts';
import { valueOf } from '../../../local/stack/outcome.ts';
import { claimPort } from '../../../local/stack/ports.ts';
import { startProgram } from '../../../local/stack/program.ts';
import { type LoneGateway, type RunningJob, runningJob, startLoneGateway } from '../../lone/gateway.ts';
import { Watcher } from '../../lone/watcher.ts';
import { percentile } from '../submit/load.ts';
import { markdown, median } from '../table.ts';

/** How much is measured: rounds beside the first, which warms up; events of a round; jobs of the first row; watchers of the others. */
type Size = { rounds: number; events: number; jobs: number; watchers: readonly number[] };
const FULL: Size = { rounds: 5, events: 8, jobs: 50, watchers: [1, 100, 1_000] };
const SHORT: Size = { rounds: 1, events: 1, jobs: 2, watchers: [2] };
/** As often as a worker may tell progress (docs/reference/worker-contract.md, channel). The events are lines of the log: each is stored, then shown. */
const EVERY_MS = 250;
/** How many connect at the same time. */
const AT_ONCE = 50;
/** No limit may be met. */
const LIMITS = { jobs_in_flight: 1_000, submits_per_minute: 10_000 };
/** What an event may take, by the 95th percentile. */
const AIM_MS = 25;

/** What one round met, in ms: from the worker's send to the last byte at a watcher, and to the worker's ack. */
type Round = { p50: number; p95: number; first: number; stored: number };

/**
 * How long an event takes from the worker to those who watch: with many jobs that run, and with many watchers of one. Worker and watchers are
 * this process, the gateway is the real one in workerd behind wrangler's own proxy, all on this machine.
 */
export async function measureEvents(root: string, signal: AbortSignal, short: boolean): Promise<string> {
  const size = short ? SHORT : FULL;
  const gateway = await startLoneGateway(LIMITS);
  try {
    const rows = [await manyJobs(gateway, size, signal)];
    for (const count of size.watchers) {
      rows.push(await oneJob(gateway, count, size, signal));
    }
    rows.push(await bareHub(root, size.watchers.at(-1) ?? 1, size, signal));
    return markdown([['ms', 'aim p95', 'p50', 'p95', 'first watcher', 'worker’s ack', 'rounds'], ...rows]);
  } finally {
    await gateway.stop();
  }
}

async function manyJobs(gateway: LoneGateway, size: Size, signal: AbortSignal): Promise<string[]> {
  const jobs: RunningJob[] = [];
  for (let count = 0; count < size.jobs; count += 1) {
    jobs.push(await runningJob(gateway));
  }
  const pairs = await Promise.all(jobs.map(async (job) => ({ job, watchers: [await connect(gateway, job.id)] })));
  const rounds: Round[] = [];
  for (let round = 0; round <= size.rounds; round += 1) {
    const each = await Promise.all(
      pairs.map(async ({ job, watchers }, index) => {
        // Workers do not speak in chorus.
        await delay((EVERY_MS / size.jobs) * index, undefined, { signal });
        return burst(() => line(job), watchers, size.events, signal);
      }),
    );
    rounds.push(summary(each.flat()));
  }
  await Promise.all(jobs.map((job) => job.complete()));
  return row(`${size.jobs} jobs, one watcher each`, rounds);
}

async function oneJob(gateway: LoneGateway, count: number, size: Size, signal: AbortSignal): Promise<string[]> {
  const job = await runningJob(gateway);
  const watchers = await crowd(count, () => connect(gateway, job.id));
  const rounds: Round[] = [];
  for (let round = 0; round <= size.rounds; round += 1) {
    rounds.push(summary(await burst(() => line(job), watchers, size.events, signal)));
  }
  await job.complete();
  await Promise.all(watchers.map((watcher) => watcher.ended));
  return row(`one job, ${count} watcher${count === 1 ? '' : 's'}`, rounds);
}

/** What the platform alone takes for the same: an object that stores nothing, a Worker that knows nothing. */
async function bareHub(root: string, count: number, size: Size, signal: AbortSignal): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'comfy-edge-bench-'));
  const port = valueOf(await claimPort({ port: 0, purpose: 'a benchmark', variable: '' }));
  const url = `http://127.0.0.1:${port}`;
  const args = [
    'dev',
    '--ip=127.0.0.1',
    `--port=${port}`,
    '--inspector-port=0',
    `--persist-to=${join(directory, 'bare')}`,
    '--show-interactive-dev-session=false',
    '--config',
    join(import.meta.dirname, 'bare.toml'),
  ];
  const program = await startProgram(wranglerProgram({ root, directory }, args, 'bare.log'));
  try {
    valueOf(await waitUntilReady(`${url}/readyz`, program, signal));
    const watchers = await crowd(count, () => Watcher.open(url, {}));
    let id = 0;
    const say = async (): Promise<void> => {
      id += 1;
      const data = '{"value":0.5,"nodes_done":1,"nodes_total":3,"current_node":"5","step":4,"steps":20}';
      const answer = await fetch(url, { method: 'POST', body: `event: progress\ndata: ${data}\nid: ${id}\n\n` });
      await answer.arrayBuffer();
    };
    const rounds: Round[] = [];
    for (let round = 0; round <= size.rounds; round += 1) {
      rounds.push(summary(await burst(say, watchers, size.events, signal)));
    }
    watchers.forEach((watcher) => watcher.leave());
    return row(`bare object and Worker, ${count} watchers`, rounds);
  } finally {
    await program.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

type Timing = { stored: number; latencies: number[] };

/** Some events of one job, at a worker's pace. */
async function burst(
  say: () => Promise<void>,
  watchers: readonly Watcher[],
  events: number,
  signal: AbortSignal,
): Promise<Timing[]> {
  const timings: Timing[] = [];
  for (let count = 0; count < events; count += 1) {
    const next = Math.max(...watchers.map(lastOf)) + 1;
    const said = performance.now();
    await say();
    const stored = performance.now() - said;
    await Promise.all(watchers.map((watcher) => watcher.upTo(next)));
    const latencies = watchers.map((watcher) => (watcher.seen.find(({ id }) => id === next)?.at ?? Number.NaN) - said);
    timings.push({ stored, latencies });
    await delay(EVERY_MS, undefined, { signal });
  }
  return timings;
}

function summary(timings: readonly Timing[]): Round {
  const all = timings.flatMap(({ latencies }) => latencies);
  return {
    p50: percentile(all, 0.5),
    p95: percentile(all, 0.95),
    first: median(timings.map(({ latencies }) => Math.min(...latencies))),
    stored: median(timings.map(({ stored }) => stored)),
  };
}

/** Medians over the rounds but the first, which warms up. */
function row(what: string, [, ...rounds]: readonly Round[]): string[] {
  const middle = (of: (round: Round) => number): string => median(rounds.map(of)).toFixed(1);
  return [
    what,
    `≤ ${AIM_MS}`,
    middle(({ p50 }) => p50),
    middle(({ p95 }) => p95),
    middle(({ first }) => first),
    middle(({ stored }) => stored),
    String(rounds.length),
  ];
}

const line = (job: RunningJob): Promise<void> =>
  job.say({ type: 'log', level: 'info', message: 'KSampler: step 4 of 20' });

async function crowd(count: number, open: () => Promise<Watcher>): Promise<Watcher[]> {
  const watchers: Watcher[] = [];
  while (watchers.length < count) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - watchers.length) }, open);
    watchers.push(...(await Promise.all(some)));
  }
  return watchers;
}

const lastOf = (watcher: Watcher): number => watcher.seen.findLast(({ id }) => id !== null)?.id ?? 0;

async function connect(gateway: LoneGateway, job: string): Promise<Watcher> {
  const watcher = await Watcher.open(`${gateway.url}/v1/jobs/${job}/events`, {
    authorization: `Bearer ${gateway.key}`,
  });
  await watcher.until(() => watcher.seen.length > 0);
  return watcher;
}
