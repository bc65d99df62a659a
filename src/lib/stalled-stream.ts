import type { Waiting } from './chunks.ts';

/**
 * Bodies that end in time. The platform's own `pipeThrough` with a signal looks at it between two chunks only, so a sender that has
 * stopped would hold it for ever: here the waiting itself is given up.
 */

/** How long a sender may be silent. A connection that is alive sends something within seconds, however slow it is. */
export const IDLE_TIMEOUT_MS = 60_000;

/** A time within which work must end: `signal` aborts when it is up. `stop` when the work is done, or the timer runs on. */
export type Deadline = { signal: AbortSignal; stop: () => void };

/** Not `AbortSignal.timeout`: its timer cannot be stopped, and keeps an object from hibernating. */
export function deadlineIn(ms: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

/** Waits for a chunk, but not for too long. */
export const withIdleTimeout: Waiting = async (read) => {
  const silence = deadlineIn(IDLE_TIMEOUT_MS);
  try {
    return await until(silence.signal)(read);
  } finally {
    silence.stop();
  }
};

/** Waits for a chunk until the signal aborts. */
export const until =
  (signal: AbortSignal): Waiting =>
  async (read) => {
    const { promise: timedOut, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(new Error('the time is up'));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) {
      onAbort();
    }
    try {
      return await Promise.race([read, timedOut]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  };
