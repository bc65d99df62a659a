import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * A small helper process that outlives a killed platform: it is told every worker's process group over its stdin, and
 * when that pipe closes (the platform ended, even by `kill -9`) it kills what is left and ends.
 */
export interface Reaper {
  watch(pid: number): void;
  forget(pid: number): void;
  /** Kills what is left; resolves when the helper has ended. */
  close(): Promise<void>;
}

/** Starts the helper with the first process it has to watch. */
export function startReaper(): Reaper {
  let helper: { tell: (line: string) => void; close: () => Promise<void> } | null = null;
  return {
    watch(pid) {
      helper ??= startHelper();
      helper.tell(`+${pid}`);
    },
    forget(pid) {
      helper?.tell(`-${pid}`);
    },
    async close() {
      await helper?.close();
    },
  };
}

function startHelper(): { tell: (line: string) => void; close: () => Promise<void> } {
  const program = fileURLToPath(new URL('reap-groups.ts', import.meta.url));
  const child = spawn(process.execPath, [program], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
  // A helper that is gone must not take the platform with it.
  child.stdin.on('error', () => {});
  child.unref();
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  return {
    tell: (line) => child.stdin.write(`${line}\n`),
    close() {
      child.stdin.end();
      return ended;
    },
  };
}
