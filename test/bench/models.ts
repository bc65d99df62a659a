import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { runScript } from './script.ts';

/** How fast models come (`worker-gpu/bench/models/run.py`). */
export function measureModels(bench: Bench): Promise<void> {
  // The other tools are in an environment of their own.
  const interpreter = process.env['MODELS_BENCH_PYTHON'] ?? bench.python;
  const script = join(bench.root, 'worker-gpu/bench/models/run.py');
  return runScript(interpreter, script, bench.short ? ['--short'] : [], bench);
}
