import { availableParallelism, cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { type Launch, launch } from '../../local/stack/launcher.ts';
import { type Outcome, done } from '../../local/stack/outcome.ts';
import { measureEndToEnd } from './end-to-end.ts';
import { measureOverhead } from './overhead.ts';
import { table } from './table.ts';

const ROUNDS = { warmUp: 3, runs: 15 };
const root = resolve(import.meta.dirname, '..', '..');

/** `npm run bench`: docs/benchmarks.md says what is measured and what bounds it. */
async function bench({ signal }: Launch): Promise<Outcome<null>> {
  const environment = await ensureEnvironment({ root, signal, report: (line) => console.log(line) });
  if (!environment.ok) {
    return environment;
  }
  const processor = cpus()[0]?.model.trim() ?? 'unknown processor';
  console.log(
    `${availableParallelism()} × ${processor}, ${process.platform} ${process.arch}, Node ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}`,
  );
  console.log(`\nWhat the worker adds (${ROUNDS.warmUp} warm-up runs before)\n`);
  console.log(table(await measureOverhead(root, environment.value.python, ROUNDS, signal)));
  console.log('\nFrom the client, through everything\n');
  console.log(table(await measureEndToEnd(ROUNDS, signal)));
  return done(null);
}

await launch(bench);
