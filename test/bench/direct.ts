import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { runScript } from './script.ts';
import type { Rounds } from './table.ts';

/** What a direct job adds to ComfyUI's own time (`worker-gpu/bench/direct/run.py`). */
export function measureDirect(bench: Bench, { warmUp, runs }: Rounds): Promise<void> {
  const script = join(bench.root, 'worker-gpu/bench/direct/run.py');
  return runScript(bench.python, script, ['--rounds', String(runs), '--warm-up', String(warmUp)], bench);
}
