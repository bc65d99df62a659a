import type { BreakerCause, BreakerMode, CallOutcome } from '../../contract/endpoint.ts';

/**
 * The circuit breaker of an endpoint: `(breaker, event, now) → breaker`. No I/O and no clock of its own. Rules:
 * - closed: it opens when calls keep failing, at once when the provider rejects the account or the endpoint, and when
 *   queued runs have
 *   had no worker for too long;
 * - open: no run is sent until the pause has ended and the provider's health responds;
 * - half-open: one job at a time is sent as a probe. Its success closes the breaker; its failure opens it for twice as
 *   long.
 *
 * Own code: `cockatiel` and `opossum` wrap a call and keep their state in the process. This state is stored by one
 * object for all isolates, and the provider's health and a lack of workers change it, as failed calls do.
 */
export type Breaker = {
  mode: BreakerMode;
  cause: BreakerCause | null;
  /** Calls since the first failure; null while no call fails. */
  window: { since: number; run: Tally; health: Tally } | null;
  /** Length of the current pause. */
  pause_ms: number;
  /** Open: when health is checked next. */
  retry_at: number | null;
  /** Half-open: the job that is the probe, and the end of its exclusive time. */
  probe: { job: string; until: number } | null;
};
type Tally = { ok: number; failed: number };

/** Times in ms. */
export type BreakerSettings = { failures: number; window_ms: number; pause_ms: number; no_workers_after_ms: number };

export type BreakerEvent =
  /** `/run` was called for this job. `retry_after_ms`: the provider's Retry-After. */
  | { kind: 'run'; job: string; outcome: CallOutcome; retry_after_ms: number | null }
  /** Health was checked. `workers` is null when it did not respond. */
  | { kind: 'health'; outcome: CallOutcome; workers: Supply | null };

/**
 * The workers for queued runs. `some`: there are some, or RunPod is looking for a machine; `starved`: runs wait, and
 * there have been none for longer than normal; `idle`: none, and no run waits; `unknown`: none, and runs have not
 * waited long.
 */
export type Supply = 'some' | 'starved' | 'idle' | 'unknown';

/** A pause doubles up to this limit, so waiting jobs start at most this long after the endpoint has recovered. */
export const MAX_PAUSE_MS = 120_000;
/** How long a probe may take: longer than the timeout of `/run` (providers/gpu/runpod/client.ts). */
export const PROBE_MS = 30_000;
/** When a job asks again that arrived during another job's probe. */
const BEHIND_PROBE_MS = 2_000;
/** The shortest wait: the alarms of the Endpoint and the Job object may fire in either order. */
const MIN_WAIT_MS = 500;

export const closedBreaker: Breaker = {
  mode: 'closed',
  cause: null,
  window: null,
  pause_ms: 0,
  retry_at: null,
  probe: null,
};

/** Applies one event. Does not modify the given breaker, and returns the same one when nothing changes. */
export function feed(breaker: Breaker, event: BreakerEvent, now: number, settings: BreakerSettings): Breaker {
  switch (breaker.mode) {
    case 'closed':
      return whenClosed(breaker, event, now, settings);
    case 'open':
      return whenOpen(breaker, event, now, settings);
    case 'half_open':
      return whenHalfOpen(breaker, event, now, settings);
  }
}

/** Decides whether a job may call `/run` now. */
export function ask(
  breaker: Breaker,
  job: string,
  now: number,
  settings: BreakerSettings,
): { breaker: Breaker; wait_ms: number | null } {
  switch (breaker.mode) {
    case 'closed':
      return { breaker, wait_ms: null };
    case 'open':
      return { breaker, wait_ms: Math.max(MIN_WAIT_MS, (breaker.retry_at ?? now) - now) };
    case 'half_open': {
      const { probe } = breaker;
      if (probe !== null && probe.job !== job && now < probe.until) {
        return { breaker, wait_ms: Math.max(MIN_WAIT_MS, Math.min(probe.until - now, BEHIND_PROBE_MS)) };
      }
      // A run that waits for a worker gives no information, however long it waits.
      const life = breaker.cause === 'no_workers' ? settings.no_workers_after_ms + PROBE_MS : PROBE_MS;
      return { breaker: { ...breaker, probe: { job, until: now + life } }, wait_ms: null };
    }
  }
}

function whenClosed(breaker: Breaker, event: BreakerEvent, now: number, settings: BreakerSettings): Breaker {
  if (event.outcome === 'refused') {
    return opened('refused', now, settings.pause_ms);
  }
  if (event.kind === 'health' && event.workers === 'starved') {
    return opened('no_workers', now, settings.pause_ms);
  }
  const current = breaker.window !== null && now < breaker.window.since + settings.window_ms ? breaker.window : null;
  if (current === null && event.outcome === 'ok') {
    return breaker.window === null ? breaker : closedBreaker;
  }
  const window = current ?? { since: now, run: { ok: 0, failed: 0 }, health: { ok: 0, failed: 0 } };
  const tally = counted(window[event.kind], event.outcome);
  if (tally.failed >= settings.failures && tally.failed >= tally.ok) {
    return opened('failing', now, Math.max(settings.pause_ms, retryAfter(event)));
  }
  return { ...breaker, window: { ...window, [event.kind]: tally } };
}

function whenOpen(breaker: Breaker, event: BreakerEvent, now: number, settings: BreakerSettings): Breaker {
  if (event.kind === 'run') {
    // The call was made before the breaker opened, so its outcome is outdated.
    return breaker;
  }
  if (breaker.cause === 'no_workers' && event.workers === 'some') {
    return closedBreaker;
  }
  if (now < (breaker.retry_at ?? now)) {
    return breaker;
  }
  return event.outcome === 'ok' && event.workers !== 'starved'
    ? { ...breaker, mode: 'half_open', retry_at: null, probe: null }
    : reopened(breaker, causeOf(event), now, settings);
}

function whenHalfOpen(breaker: Breaker, event: BreakerEvent, now: number, settings: BreakerSettings): Breaker {
  if (event.kind === 'health') {
    if (breaker.cause === 'no_workers' && event.workers === 'some') {
      return closedBreaker;
    }
    if (event.outcome !== 'ok' || event.workers === 'starved') {
      return reopened(breaker, causeOf(event), now, settings);
    }
    // No run waits for a worker: the probe's run was canceled, or finished before a worker was seen.
    return event.workers === 'idle' &&
      breaker.probe !== null &&
      now >= breaker.probe.until - settings.no_workers_after_ms
      ? { ...breaker, probe: null }
      : breaker;
  }
  if (event.job !== breaker.probe?.job) {
    return breaker;
  }
  if (event.outcome !== 'ok') {
    return reopened(breaker, causeOf(event), now, settings, retryAfter(event));
  }
  // An accepted run says nothing about workers; health does.
  return breaker.cause === 'no_workers' ? breaker : closedBreaker;
}

const causeOf = (event: BreakerEvent): BreakerCause =>
  event.outcome === 'refused' ? 'refused' : event.outcome === 'failed' ? 'failing' : 'no_workers';

const retryAfter = (event: BreakerEvent): number => (event.kind === 'run' ? (event.retry_after_ms ?? 0) : 0);

const counted = (tally: Tally, outcome: CallOutcome): Tally =>
  outcome === 'ok' ? { ...tally, ok: tally.ok + 1 } : { ...tally, failed: tally.failed + 1 };

const reopened = (
  { pause_ms }: Breaker,
  cause: BreakerCause,
  now: number,
  settings: BreakerSettings,
  atLeast_ms = 0,
): Breaker => opened(cause, now, Math.max(settings.pause_ms, pause_ms * 2, atLeast_ms));

function opened(cause: BreakerCause, now: number, wanted_ms: number): Breaker {
  const pause_ms = Math.min(wanted_ms, MAX_PAUSE_MS);
  return { mode: 'open', cause, window: null, pause_ms, retry_at: now + pause_ms, probe: null };
}
