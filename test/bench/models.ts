import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Bench } from './bench.ts';

/** How fast models come (`worker-gpu/bench/models/run.py`). Each line is reported as it comes. */
export async function measureModels({ root, python, signal, short, report }: Bench): Promise<void> {
  const script = join(root, 'worker-gpu/bench/models/run.py');
  // The other tools are in an environment of their own.
  const interpreter = process.env['MODELS_BENCH_PYTHON'] ?? python;
  const child = spawn(interpreter, [script, ...(short ? ['--short'] : [])], {
    stdio: ['ignore', 'pipe', 'inherit'],
    signal,
  });
  createInterface({ input: child.stdout }).on('line', report);
  const ended = Promise.withResolvers<number | null>();
  // Unlike `exit`, `close` comes after the last line.
  child.once('close', ended.resolve);
  child.once('error', ended.reject);
  const code = await ended.promise;
  if (code !== 0) {
    throw new Error(`${script} ended with ${code ?? 'a signal'}`);
  }
}
