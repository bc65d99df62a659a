import { spawn } from 'node:child_process';
import { join } from 'node:path';

/** How fast models come (`worker-gpu/bench/models/run.py`). What it prints goes to this program's output. */
export async function measureModels(root: string, python: string, signal: AbortSignal): Promise<void> {
  const script = join(root, 'worker-gpu/bench/models/run.py');
  const child = spawn(python, [script], { stdio: 'inherit', signal });
  const ended = Promise.withResolvers<number | null>();
  child.once('exit', ended.resolve);
  child.once('error', ended.reject);
  const code = await ended.promise;
  if (code !== 0) {
    throw new Error(`${script} ended with ${code ?? 'a signal'}`);
  }
}
