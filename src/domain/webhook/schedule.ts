import { PING } from '../../contract/webhook.ts';

/** When a delivery is tried, and what its webhook's health comes to. Pure. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * Wait before each attempt, counted from the one before: ten attempts over 75.6 h. The schedule that Standard Webhooks recommends
 * (standard-webhooks spec, "Deliverability and reliability").
 */
export const DELAYS_MS = [
  0,
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
] as const;

/** A wait is longer by up to this share of itself, so that what failed together does not come back together. Never shorter. */
export const JITTER = 0.2;

/** Within the 15 to 30 s of the Standard Webhooks spec. */
export const TIMEOUT_MS = 20 * SECOND;

/** Pause after an answer that says "too much" (429, 502, 504) and not for how long. */
export const SLOW_DOWN_MS = MINUTE;

/** Answers at which the spec asks a sender to slow down. */
const SLOW_DOWN = new Set([429, 502, 504]);

/** 410: the receiver wants nothing any more. */
const GONE = 410;

/** A webhook that failed for so long without one success is turned off (Svix's default: 120 h). */
export const DISABLE_AFTER_MS = 120 * HOUR;

/** What the network said to one POST. `retry_after_ms`: from now; null when the answer named none. */
export type Answer =
  | { kind: 'status'; status: number; retry_after_ms: number | null }
  | { kind: 'timeout' }
  | { kind: 'unreachable' }
  /** The URL may no longer be called; nothing was sent. */
  | { kind: 'not_allowed' };

/** What to do with a delivery after an attempt. */
export type Next = { status: 'delivered' } | { status: 'failed' } | { status: 'pending'; due_at: number };

export const isDelivered = (answer: Answer): boolean =>
  answer.kind === 'status' && answer.status >= 200 && answer.status <= 299;

/**
 * @param tries attempts of this round, the one just made included
 * @param random from 0 up to 1
 */
export function nextOf(type: string, tries: number, answer: Answer, now: number, random: number): Next {
  if (isDelivered(answer)) {
    return { status: 'delivered' };
  }
  const delay = DELAYS_MS[tries];
  // A ping asks whether the receiver answers now.
  if (delay === undefined || type === PING) {
    return { status: 'failed' };
  }
  return {
    status: 'pending',
    due_at: now + Math.max(Math.round(delay * (1 + JITTER * random)), retryAfter(answer) ?? 0),
  };
}

/** How a webhook is doing, beside what its owner set. */
export type Health = { failing_since: number | null; held_until: number | null };

/** Health after an attempt, and why the webhook must be turned off, if it must. */
export function healthAfter(
  health: Health,
  answer: Answer,
  now: number,
): { health: Health; disable: { reason: 'gone' | 'failing'; detail: string } | null } {
  if (isDelivered(answer)) {
    return { health: { failing_since: null, held_until: null }, disable: null };
  }
  const failing_since = health.failing_since ?? now;
  const pause = pauseFor(answer);
  const held_until = pause === null ? health.held_until : Math.max(health.held_until ?? 0, now + pause);
  const after: Health = { failing_since, held_until };
  if (answer.kind === 'status' && answer.status === GONE) {
    return { health: after, disable: { reason: 'gone', detail: 'the receiver answered 410 Gone' } };
  }
  if (now - failing_since >= DISABLE_AFTER_MS) {
    const detail = `every attempt failed for ${DISABLE_AFTER_MS / HOUR} hours`;
    return { health: after, disable: { reason: 'failing', detail } };
  }
  return { health: after, disable: null };
}

/** How long nothing at all should be sent to this receiver; null: go on. */
function pauseFor(answer: Answer): number | null {
  if (answer.kind !== 'status') {
    return null;
  }
  return retryAfter(answer) ?? (SLOW_DOWN.has(answer.status) ? SLOW_DOWN_MS : null);
}

const retryAfter = (answer: Answer): number | null => (answer.kind === 'status' ? answer.retry_after_ms : null);
