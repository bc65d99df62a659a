import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { addMigratedState } from './state.ts';

const root = resolve(import.meta.dirname, '..', '..', '..');

/** A command-line program in a process of its own, with its own state, its own output folder and any free ports. */
export interface Launched {
  process: ChildProcess;
  folder: string;
  /** Resolves with the first line of stdout or stderr that holds `part`; rejects when the output ends without one. */
  line(part: string): Promise<string>;
  ended: Promise<{ code: number | null; signal: string | null; stdout: string[]; stderr: string[] }>;
}

/**
 * Starts `script`, a path from the repository's root, for the length of the test.
 *
 * @param from `empty`: with nothing in its state directory, as the first time; `migrated`: with its database made.
 */
export async function launched(
  script: string,
  env: Record<string, string> = {},
  from: 'empty' | 'migrated' = 'migrated',
): Promise<Launched> {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-launched-'));
  if (from === 'migrated') {
    await addMigratedState(join(folder, 'state'));
  }
  const child = spawn(process.execPath, [join(root, script)], {
    env: {
      ...process.env,
      GATEWAY_PORT: '0',
      RUNPOD_PORT: '0',
      STATE_DIR: join(folder, 'state'),
      DEMO_OUTPUT: join(folder, 'output'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  const stdout: string[] = [];
  const stderr: string[] = [];
  const waiting = new Set<() => void>();
  const collect = (lines: string[]) => (line: string) => {
    lines.push(line);
    for (const look of waiting) {
      look();
    }
  };
  createInterface({ input: child.stdout }).on('line', collect(stdout));
  createInterface({ input: child.stderr }).on('line', collect(stderr));
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }));
  const line = (part: string) =>
    new Promise<string>((found, failed) => {
      const look = () => {
        const match = [...stdout, ...stderr].find((each) => each.includes(part));
        if (match !== undefined) {
          waiting.delete(look);
          found(match);
        }
      };
      waiting.add(look);
      void ended.then(() => failed(new Error(`no "${part}" in:\n${[...stdout, ...stderr].join('\n')}`)));
      look();
    });
  return { process: child, folder, line, ended };
}

/** Ids of the processes below this one, at any depth, whose command line holds `part`. */
export function descendants(pid: number, part: string): number[] {
  const all = execFileSync('ps', ['-axo', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => {
      const [, id = '', parent = '', args = ''] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
      return id === '' ? [] : [{ id: Number(id), parent: Number(parent), args }];
    });
  const below = (id: number): typeof all =>
    all.filter(({ parent }) => parent === id).flatMap((each) => [each, ...below(each.id)]);
  return below(pid).flatMap(({ id, args }) => (args.includes(part) ? [id] : []));
}
