import type { Bench } from './bench.ts';
import { measureDirect } from './direct.ts';
import { measureEndToEnd } from './end-to-end.ts';
import { measureEvents } from './events/measure.ts';
import { measureMemory } from './memory/measure.ts';
import { measureModels } from './models.ts';
import { measureOverhead } from './overhead.ts';
import { measurePrice } from './price.ts';
import { measureSubmits } from './submit/measure.ts';
import { table, type Rounds } from './table.ts';

const roundsOf = ({ short }: Bench): Rounds => (short ? { warmUp: 0, runs: 1 } : { warmUp: 3, runs: 15 });

/**
 * Every suite of `npm run bench`, in the order they run. Each prints its own tables and has a short form, which
 * `suites.test.ts` runs: an unused suite would stop working unnoticed.
 */
export const SUITES: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  worker: async (bench) => {
    const { root, python, signal, report } = bench;
    const rounds = roundsOf(bench);
    report(`\nWhat the worker adds (${rounds.warmUp} warm-up runs before)\n`);
    report(table(await measureOverhead(root, python, rounds, signal)));
  },
  direct: async (bench) => {
    bench.report('\nWhat a direct job adds, beside worker-comfyui where WORKER_COMFYUI_HANDLER names it');
    await measureDirect(bench, roundsOf(bench));
  },
  events: async ({ root, signal, short, report }) => {
    report('\nAn event from the worker to those who watch\n');
    report(await measureEvents(root, signal, short));
  },
  path: async (bench) => {
    bench.report('\nFrom the client, through everything\n');
    bench.report(table(await measureEndToEnd(roundsOf(bench), bench.signal)));
  },
  submit: async ({ root, signal, short, report }) => {
    report('\nSubmits, against a bare route and a bare proxy\n');
    report(await measureSubmits(root, signal, short));
  },
  price: async ({ root, signal, short, report }) => {
    report('\nWhat a job of 60 s with one watcher costs at Cloudflare\n');
    report(await measurePrice(root, signal, short));
  },
  memory: async ({ root, signal, short, report }) => {
    report('\nWhat large requests add to the memory of the isolate\n');
    report(await measureMemory(root, signal, short));
  },
  models: async (bench) => {
    bench.report('\nModels from a bucket, against other tools\n');
    await measureModels(bench);
  },
};

/** Need several GB of memory and minutes: run only when named. */
export const ON_REQUEST: ReadonlySet<string> = new Set(['models']);
