import { resolve } from 'node:path';
import { ensureEnvironment } from './environment.ts';

/** `node local/python/setup.ts`: creates the Python environment of this checkout unless it exists. */
const result = await ensureEnvironment({
  root: resolve(import.meta.dirname, '../..'),
  report: (line) => console.error(line),
});
if (!result.ok) {
  for (const line of result.details) {
    console.error(`  ${line}`);
  }
  console.error(result.message);
  process.exitCode = 1;
}
