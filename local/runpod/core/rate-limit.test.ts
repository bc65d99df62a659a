import { describe, expect, it } from 'vitest';
import { RateLimiter } from './rate-limit.ts';

const NOW = 1_000_000;

describe('calls per window', () => {
  it('are allowed up to the limit, and again after the window', () => {
    const limiter = new RateLimiter(10_000);
    const rule = { perWindow: 2, concurrent: 9 };
    expect(limiter.admit('k', rule, NOW).ok).toBe(true);
    expect(limiter.admit('k', rule, NOW + 4000).ok).toBe(true);
    expect(limiter.admit('k', rule, NOW + 9999)).toEqual({ ok: false, reason: 'rate' });
    expect(limiter.admit('k', rule, NOW + 10_000).ok).toBe(true);
    expect(limiter.admit('k', rule, NOW + 13_999).ok).toBe(false);
    expect(limiter.admit('k', rule, NOW + 14_000).ok).toBe(true);
  });

  it('do not include refused calls', () => {
    const limiter = new RateLimiter(10_000);
    const rule = { perWindow: 1, concurrent: 9 };
    limiter.admit('k', rule, NOW);
    limiter.admit('k', rule, NOW + 9000);
    expect(limiter.admit('k', rule, NOW + 10_000).ok).toBe(true);
  });

  it('are counted per subject', () => {
    const limiter = new RateLimiter(10_000);
    const rule = { perWindow: 1, concurrent: 9 };
    expect(limiter.admit('a', rule, NOW).ok).toBe(true);
    expect(limiter.admit('b', rule, NOW).ok).toBe(true);
  });
});

describe('open calls', () => {
  it('are allowed again when one has ended, which counts once', () => {
    const limiter = new RateLimiter(10_000);
    const rule = { perWindow: 100, concurrent: 2 };
    const first = limiter.admit('k', rule, NOW);
    limiter.admit('k', rule, NOW);
    expect(limiter.admit('k', rule, NOW)).toEqual({ ok: false, reason: 'concurrency' });
    if (first.ok) {
      first.release();
      first.release();
    }
    expect(limiter.admit('k', rule, NOW).ok).toBe(true);
    expect(limiter.admit('k', rule, NOW).ok).toBe(false);
  });
});
