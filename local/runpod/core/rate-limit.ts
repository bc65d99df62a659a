/** The rate limit of one operation for one key. */
export interface RateRule {
  /** Calls in any stretch of `windowMs`. */
  perWindow: number;
  /** Calls open at the same time. */
  concurrent: number;
}

export type Admission = { ok: true; release: () => void } | { ok: false; reason: 'rate' | 'concurrency' };

/** A sliding window and a count of open calls for each subject (key, endpoint and operation in one string). */
export class RateLimiter {
  readonly #windowMs: number;
  readonly #calls = new Map<string, number[]>();
  readonly #open = new Map<string, number>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** Admits a call, or names the limit. Call `release` when the call has ended. */
  admit(subject: string, rule: RateRule, now: number): Admission {
    const recent = (this.#calls.get(subject) ?? []).filter((at) => at > now - this.#windowMs);
    this.#calls.set(subject, recent);
    if (recent.length >= rule.perWindow) {
      return { ok: false, reason: 'rate' };
    }
    const open = this.#open.get(subject) ?? 0;
    if (open >= rule.concurrent) {
      return { ok: false, reason: 'concurrency' };
    }
    recent.push(now);
    this.#open.set(subject, open + 1);
    let released = false;
    return {
      ok: true,
      release: () => {
        if (!released) {
          released = true;
          this.#open.set(subject, (this.#open.get(subject) ?? 1) - 1);
        }
      },
    };
  }
}
