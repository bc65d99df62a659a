import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

/** Interval between tries to get the lock. */
const RETRY_MS = 50;

/** A held lock. The operating system also releases it when the process dies. */
export interface Lock {
  release(): void;
}

/** Gets the lock at `path`, or null when another process holds it. The file is kept: only the SQLite lock on it counts. */
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

/** Waits for the lock at `path`. Calls `onWait` once when another process holds it. */
export async function lock(path: string, onWait: () => void): Promise<Lock> {
  for (let reported = false; ; reported = true) {
    const held = tryLock(path);
    if (held !== null) {
      return held;
    }
    if (!reported) {
      onWait();
    }
    await delay(RETRY_MS);
  }
}
