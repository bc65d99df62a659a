import { setTimeout as delay } from 'node:timers/promises';

/** How a program is asked whether it still answers. Times in ms. */
export interface ProbeOptions {
  url: string;
  signal: AbortSignal;
  /** Between two questions. */
  intervalMs?: number;
  /** Longest wait for one answer: a busy machine takes a second. */
  timeoutMs?: number;
  /** Failed probes in a row after which the program counts as gone. */
  failures?: number;
}

/**
 * Resolves when nothing answers at `url` any more, though its process may run: wrangler lives on when its runtimes are killed, starts new ones,
 * and what comes in then waits for ever. Counts questions rather than time, so that a computer that slept is asked first. Never resolves once
 * `signal` aborts.
 */
export async function unanswered(options: ProbeOptions): Promise<void> {
  const { url, signal, intervalMs = 2_000, timeoutMs = 5_000, failures = 4 } = options;
  let failed = 0;
  while (failed < failures) {
    await delay(intervalMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) {
      return new Promise(() => undefined);
    }
    failed = (await isAnswered(url, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))) ? 0 : failed + 1;
  }
}

async function isAnswered(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(url, { signal });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
