/** Cancels a scheduled call. Does nothing after it ran. */
export type Cancel = () => void;

/** Time as the platform sees it. Every rule that depends on time goes through one of these. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `run` once, `delayMs` from now. */
  schedule(delayMs: number, run: () => void): Cancel;
}

/** Longest delay one Node timer can hold (a signed 32-bit count of milliseconds). */
const LONGEST_TIMER_MS = 2_147_483_647;

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  schedule(delayMs, run) {
    const timer = setTimeout(run, Math.min(Math.max(delayMs, 0), LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** A clock that moves only by `advance`; for tests. */
export class ManualClock implements Clock {
  #now: number;
  #timers: { at: number; run: () => void }[] = [];
  #watchers: { delayMs: number; met: () => void }[] = [];

  constructor(start = 1_700_000_000_000) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  schedule(delayMs: number, run: () => void): Cancel {
    const timer = { at: this.#now + Math.max(delayMs, 0), run };
    this.#timers.push(timer);
    for (const watcher of this.#watchers.filter((each) => each.delayMs === delayMs)) {
      watcher.met();
    }
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Resolves when the next call with this delay is scheduled, which shows that a wait has begun. */
  scheduled(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const watcher = {
        delayMs,
        met: () => {
          this.#watchers = this.#watchers.filter((other) => other !== watcher);
          resolve();
        },
      };
      this.#watchers.push(watcher);
    });
  }

  /** Moves time forward and runs every call that is due, in order. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const next = this.#timers.filter((timer) => timer.at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined) {
        break;
      }
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = end;
    await settled();
  }
}

/** Runs the promise callbacks that are already due. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
