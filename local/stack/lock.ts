import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

/** How often a waiting process asks again for the lock. */
const RETRY_MS = 50;

/** A held lock; the operating system also drops it when the process dies, however it dies. */
export interface Lock {
  release(): void;
}

/** Takes the lock at `path` if nobody has it, else answers null. The file stays; only the hold on it counts. */
export function tryLock(path: string): Lock | null {
  mkdirSync(dirname(path), { recursive: true });
  // SQLite's file lock belongs to the process and ends with it. A file that holds a pid would outlive a kill -9.
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (error instanceof Error && /locked|busy/.test(error.message)) {
      return null;
    }
    throw error;
  }
  return { release: () => database.close() };
}

/** Waits for the lock at `path`; `onWait` is called once if another process has it. */
export async function lock(path: string, onWait: () => void): Promise<Lock> {
  for (let told = false; ; told = true) {
    const held = tryLock(path);
    if (held !== null) {
      return held;
    }
    if (!told) {
      onWait();
    }
    await delay(RETRY_MS);
  }
}
