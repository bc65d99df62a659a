import { describe, expect, it } from 'vitest';
import {
  DELAYS_MS,
  DISABLE_AFTER_MS,
  healthAfter,
  isDelivered,
  JITTER,
  nextOf,
  SLOW_DOWN_MS,
  TIMEOUT_MS,
  type Answer,
} from './schedule.ts';

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const status = (code: number, retry_after_ms: number | null = null): Answer => ({
  kind: 'status',
  status: code,
  retry_after_ms,
});
const well = { failing_since: null, held_until: null };

describe('the schedule of webhook attempts', () => {
  it('has the ten recommended attempts over 75.6 hours', () => {
    expect(DELAYS_MS.map((ms) => ms / 1000)).toEqual([0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
    expect(DELAYS_MS.reduce<number>((sum, ms) => sum + ms, 0) / HOUR).toBeCloseTo(75.585, 3);
    expect(TIMEOUT_MS).toBe(20_000);
  });

  it.each([0, 0.25, 0.999])('waits for each delay plus at most JITTER: random %d', (random) => {
    for (const [tries, delay] of [...DELAYS_MS.entries()].slice(1)) {
      const next = nextOf('job.failed', tries, status(500), NOW, random);
      expect(next).toEqual({ status: 'pending', due_at: NOW + Math.round(delay * (1 + JITTER * random)) });
    }
  });

  it('ends after the tenth attempt, or after the first for a ping', () => {
    expect(nextOf('job.failed', 9, status(500), NOW, 0)).toMatchObject({ status: 'pending' });
    expect(nextOf('job.failed', 10, status(500), NOW, 0)).toEqual({ status: 'failed' });
    expect(nextOf('webhook.ping', 1, { kind: 'timeout' }, NOW, 0)).toEqual({ status: 'failed' });
  });

  it('waits for a Retry-After only if it is later than the schedule', () => {
    expect(nextOf('job.failed', 1, status(429, 60_000), NOW, 0)).toEqual({ status: 'pending', due_at: NOW + 60_000 });
    expect(nextOf('job.failed', 5, status(429, 60_000), NOW, 0)).toEqual({ status: 'pending', due_at: NOW + 5 * HOUR });
  });
});

it('isDelivered is true only for a status from 200 to 299', () => {
  const codes = Array.from({ length: 500 }, (_, index) => index + 100);
  expect(codes.filter((code) => isDelivered(status(code)))).toEqual(
    Array.from({ length: 100 }, (_, index) => 200 + index),
  );
  expect(isDelivered({ kind: 'timeout' }) || isDelivered({ kind: 'unreachable' })).toBe(false);
  expect(isDelivered({ kind: 'not_allowed' })).toBe(false);
});

describe('the health of a webhook', () => {
  it('keeps the time of the first failure until a success', () => {
    const once = healthAfter(well, status(500), NOW).health;
    expect(once).toEqual({ failing_since: NOW, held_until: null });
    const twice = healthAfter(once, { kind: 'timeout' }, NOW + HOUR).health;
    expect(twice.failing_since).toBe(NOW);
    expect(healthAfter(twice, status(200), NOW + HOUR)).toEqual({ health: well, disable: null });
  });

  it('pauses for 429, 502 and 504, and for any failure with a Retry-After', () => {
    const pauseOf = (answer: Answer) => (healthAfter(well, answer, NOW).health.held_until ?? NOW) - NOW;
    expect([429, 502, 504].map((code) => pauseOf(status(code)))).toEqual([SLOW_DOWN_MS, SLOW_DOWN_MS, SLOW_DOWN_MS]);
    expect([400, 404, 500, 503].map((code) => pauseOf(status(code)))).toEqual([0, 0, 0, 0]);
    expect(pauseOf(status(503, 5_000))).toBe(5_000);
    expect(pauseOf(status(429, 5_000))).toBe(5_000);
    expect(pauseOf({ kind: 'timeout' })).toBe(0);
  });

  it('does not shorten a pause from a Retry-After', () => {
    const held = healthAfter(well, status(429, HOUR), NOW).health;
    expect(healthAfter(held, status(502), NOW + 1).health.held_until).toBe(NOW + HOUR);
  });

  it('disables a webhook at once for 410, and after exactly DISABLE_AFTER_MS of failures', () => {
    expect(healthAfter(well, status(410), NOW).disable).toMatchObject({ reason: 'gone' });
    const failing = { failing_since: NOW, held_until: null };
    expect(healthAfter(failing, status(500), NOW + DISABLE_AFTER_MS - 1).disable).toBeNull();
    expect(healthAfter(failing, status(500), NOW + DISABLE_AFTER_MS).disable).toMatchObject({ reason: 'failing' });
    expect(healthAfter(failing, status(200), NOW + DISABLE_AFTER_MS).disable).toBeNull();
  });
});
