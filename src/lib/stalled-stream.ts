import type { Waiting } from './chunks.ts';

/**
 * Bodies that end in time. The platform's own `pipeThrough` with a signal looks at it between two chunks only, so a sender that has
 * stopped would hold it for ever: here the waiting itself is given up.
 */

/** How long a sender may be silent. A connection that is alive sends something within seconds, however slow it is. */
export const MAX_SILENCE_MS = 60_000;

/** A time within which work must end: `signal` aborts when it is up. `stop` when the work is done, or the timer runs on. */
export type Deadline = { signal: AbortSignal; stop: () => void };

/** Not `AbortSignal.timeout`: its timer cannot be stopped, and keeps an object from hibernating. */
export function deadlineIn(ms: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

/** Waits for a chunk, but not for too long. */
export const whileItFlows: Waiting = async (read) => {
  const silence = deadlineIn(MAX_SILENCE_MS);
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
    const { promise: over, reject } = Promise.withResolvers<never>();
    const giveUp = (): void => reject(new Error('the time is up'));
    signal.addEventListener('abort', giveUp);
    if (signal.aborted) {
      giveUp();
    }
    try {
      return await Promise.race([read, over]);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  };
