import { PING } from '../../contract/webhook.ts';

/** Decides when a delivery is attempted, and computes the health of its webhook. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * The delay before each attempt, counted from the previous one: ten attempts over 75.6 h, as Standard Webhooks
 * recommends (standard-webhooks spec, "Deliverability and reliability").
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

/**
 * Each delay is extended by a random share up to this one, so that deliveries that failed together are not retried
 * together.
 */
export const JITTER = 0.2;

/** Within the 15 to 30 s of the Standard Webhooks spec. */
export const TIMEOUT_MS = 20 * SECOND;

/** The pause after a 429, 502 or 504 without a Retry-After. */
export const SLOW_DOWN_MS = MINUTE;

/** The statuses at which the specification asks a sender to slow down. */
const SLOW_DOWN = new Set([429, 502, 504]);

/** 410: the receiver wants no more deliveries. */
const GONE = 410;

/** A webhook that has failed for this time without a success is disabled (Svix's default: 120 h). */
export const DISABLE_AFTER_MS = 120 * HOUR;

/** The result of one POST. `retry_after_ms`: from now; null when the response had no Retry-After. */
export type Answer =
  | { kind: 'status'; status: number; retry_after_ms: number | null }
  | { kind: 'timeout' }
  | { kind: 'unreachable' }
  /** The URL is no longer allowed; nothing was sent. */
  | { kind: 'not_allowed' };

/** The next state of a delivery after an attempt. */
export type Next = { status: 'delivered' } | { status: 'failed' } | { status: 'pending'; due_at: number };

export const isDelivered = (answer: Answer): boolean =>
  answer.kind === 'status' && answer.status >= 200 && answer.status <= 299;

/**
 * @param tries the number of attempts in this round, including the last one
 * @param random from 0 up to 1
 */
export function nextOf(type: string, tries: number, answer: Answer, now: number, random: number): Next {
  if (isDelivered(answer)) {
    return { status: 'delivered' };
  }
  const delay = DELAYS_MS[tries];
  // A ping tests whether the receiver responds now, so it is not retried.
  if (delay === undefined || type === PING) {
    return { status: 'failed' };
  }
  return {
    status: 'pending',
    due_at: now + Math.max(Math.round(delay * (1 + JITTER * random)), retryAfter(answer) ?? 0),
  };
}

/** The health of a webhook. */
export type Health = { failing_since: number | null; held_until: number | null };

/** Returns the health after an attempt, and the reason to disable the webhook, if any. */
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
    return { health: after, disable: { reason: 'gone', detail: 'The receiver answered 410 Gone.' } };
  }
  if (now - failing_since >= DISABLE_AFTER_MS) {
    const detail = `Every attempt failed for ${DISABLE_AFTER_MS / HOUR} hours.`;
    return { health: after, disable: { reason: 'failing', detail } };
  }
  return { health: after, disable: null };
}

/** How long to send nothing to this receiver; null: no pause. */
function pauseFor(answer: Answer): number | null {
  if (answer.kind !== 'status') {
    return null;
  }
  return retryAfter(answer) ?? (SLOW_DOWN.has(answer.status) ? SLOW_DOWN_MS : null);
}

const retryAfter = (answer: Answer): number | null => (answer.kind === 'status' ? answer.retry_after_ms : null);
