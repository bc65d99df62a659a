import { availableParallelism, cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { type Launch, launch } from '../../local/stack/launcher.ts';
import { type Outcome, done, failure } from '../../local/stack/outcome.ts';
import { ON_REQUEST, SUITES } from './suites.ts';

const root = resolve(import.meta.dirname, '..', '..');

const report = (text: string): void => console.log(text);

/** `npm run bench [-- NAME …]`: docs/operations/benchmarks.md describes each benchmark. */
async function bench({ signal }: Launch): Promise<Outcome<null>> {
  const named = process.argv.slice(2);
  const unknown = named.find((name) => SUITES[name] === undefined);
  if (unknown !== undefined) {
    return failure(`Unknown benchmark "${unknown}". Choose from: ${Object.keys(SUITES).join(', ')}.`);
  }
  const environment = await ensureEnvironment({ root, signal, report });
  if (!environment.ok) {
    return environment;
  }
  const processor = cpus()[0]?.model.trim() ?? 'unknown processor';
  report(
    `${availableParallelism()} × ${processor}, ${process.platform} ${process.arch}, Node ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}`,
  );
  for (const [name, suite] of Object.entries(SUITES)) {
    if (named.length === 0 ? !ON_REQUEST.has(name) : named.includes(name)) {
      await suite({ root, python: environment.value.python, signal, short: false, report });
    }
  }
  return done(null);
}

await launch(bench);
