import type { Waiting } from './chunks.ts';

/**
 * Timeouts for bodies. The platform's `pipeThrough` checks a signal only between two chunks, so a sender that has
 * stopped would block it forever. Here the wait itself ends.
 */

/** How long a sender may be silent. A live connection sends something within seconds, even when it is slow. */
export const IDLE_TIMEOUT_MS = 60_000;

/**
 * A timeout for work: `signal` aborts at its end. Call `stop` when the work is done; otherwise the timer keeps running.
 */
export type Deadline = { signal: AbortSignal; stop: () => void };

/** Not `AbortSignal.timeout`, whose timer cannot be stopped and keeps a Durable Object from hibernating. */
export function deadlineIn(ms: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

/** Waits for a chunk for at most `IDLE_TIMEOUT_MS`. */
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
    const onAbort = (): void => reject(new Error('The operation timed out.'));
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
