import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Bench } from './bench.ts';

/** Runs a benchmark written in Python; each line that it prints is reported as it comes. */
export async function runScript(
  interpreter: string,
  script: string,
  args: readonly string[],
  { signal, report }: Bench,
): Promise<void> {
  const child = spawn(interpreter, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'], signal });
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
