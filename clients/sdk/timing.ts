/** Time and chance, as parameters: tests bring their own. */
export interface Timing {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Resolves after `ms`; rejects when `signal` aborts. */
  delay(ms: number, signal: AbortSignal | undefined): Promise<void>;
  /** From 0 up to but not including 1. */
  random(): number;
}

export const realTiming: Timing = {
  now: () => performance.now(),
  random: () => Math.random(),
  delay: (ms, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const stop = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, ms);
      signal?.addEventListener('abort', stop, { once: true });
    }),
};
