import { availableParallelism, cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { type Launch, launch } from '../../local/stack/launcher.ts';
import { type Outcome, done, failure } from '../../local/stack/outcome.ts';
import { measureEndToEnd } from './end-to-end.ts';
import { measureEvents } from './events/measure.ts';
import { measureModels } from './models.ts';
import { measureOverhead } from './overhead.ts';
import { measurePrice } from './price.ts';
import { measureSubmits } from './submit/measure.ts';
import { table } from './table.ts';

const ROUNDS = { warmUp: 3, runs: 15 };
const root = resolve(import.meta.dirname, '..', '..');

/** What a suite is given: the project's folder, its Python, and a signal that ends it. */
export type Bench = { root: string; python: string; signal: AbortSignal };

/** The suites in the order they run. Each prints its own tables; `npm run bench -- NAME …` runs only those named. */
const SUITES: Record<string, (bench: Bench) => Promise<void>> = {
  worker: async ({ root: folder, python, signal }) => {
    console.log(`\nWhat the worker adds (${ROUNDS.warmUp} warm-up runs before)\n`);
    console.log(table(await measureOverhead(folder, python, ROUNDS, signal)));
  },
  events: async ({ root: folder, signal }) => {
    console.log('\nAn event from the worker to those who watch\n');
    console.log(await measureEvents(folder, signal));
  },
  path: async ({ signal }) => {
    console.log('\nFrom the client, through everything\n');
    console.log(table(await measureEndToEnd(ROUNDS, signal)));
  },
  submit: async ({ root: folder, signal }) => {
    console.log('\nSubmits, against a bare route and a bare proxy\n');
    console.log(await measureSubmits(folder, signal));
  },
  price: async ({ root: folder, signal }) => {
    console.log('\nWhat a job of 60 s with one watcher costs at Cloudflare\n');
    console.log(await measurePrice(folder, signal));
  },
  models: async ({ root: folder, python, signal }) => {
    console.log('\nModels from a bucket, against other tools\n');
    // The other tools are in an environment of their own.
    await measureModels(folder, process.env['MODELS_BENCH_PYTHON'] ?? python, signal);
  },
};

/** Need several GB of memory and minutes: run only when named. */
const ON_REQUEST = new Set(['models']);

/** `npm run bench`: docs/benchmarks.md says what is measured and what bounds it. */
async function bench({ signal }: Launch): Promise<Outcome<null>> {
  const named = process.argv.slice(2);
  const unknown = named.find((name) => SUITES[name] === undefined);
  if (unknown !== undefined) {
    return failure(`There is no benchmark "${unknown}": ${Object.keys(SUITES).join(', ')}.`);
  }
  const environment = await ensureEnvironment({ root, signal, report: (line) => console.log(line) });
  if (!environment.ok) {
    return environment;
  }
  const processor = cpus()[0]?.model.trim() ?? 'unknown processor';
  console.log(
    `${availableParallelism()} × ${processor}, ${process.platform} ${process.arch}, Node ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}`,
  );
  for (const [name, suite] of Object.entries(SUITES)) {
    if (named.length === 0 ? !ON_REQUEST.has(name) : named.includes(name)) {
      await suite({ root, python: environment.value.python, signal });
    }
  }
  return done(null);
}

await launch(bench);
