import type { Timing } from '../timing.ts';

/**
 * A clock that only moves when somebody waits. Waits of up to ten seconds pass at once and are noted in `waits`; longer ones
 * (the watch for silence) pass when the test calls `fallSilent`.
 */
export interface TestTiming extends Timing {
  waits: number[];
  fallSilent(): void;
}

const LONG_MS = 10_000;

export function testTiming(): TestTiming {
  let now = 0;
  const long = new Set<() => void>();
  const waits: number[] = [];
  return {
    waits,
    now: () => now,
    random: () => 0,
    delay: (ms, signal) => {
      if (ms <= LONG_MS) {
        waits.push(ms);
        now += ms;
        return Promise.resolve();
      }
      return new Promise((resolve, reject) => {
        long.add(resolve);
        signal?.addEventListener('abort', () => {
          long.delete(resolve);
          reject(signal.reason);
        });
      });
    },
    fallSilent: () => {
      for (const resolve of long) {
        resolve();
      }
      long.clear();
    },
  };
}
