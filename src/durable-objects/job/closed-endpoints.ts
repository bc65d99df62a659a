/**
 * How long this isolate sends runs to an endpoint without asking its object, after that object has reported a closed
 * circuit breaker without failed calls. The isolate notices an opened breaker at most this much later. RunPod accepts
 * 1,000 calls of `/run` per endpoint in 10 s (reference/runpod.md 2.4), so at most 300 calls fail at a broken endpoint,
 * and each of those runs is retried.
 */
export const CLOSED_FRESH_MS = 3_000;

/** `unreported`: runs that were sent without asking; the next call of `acquire` reports them. */
type Reading = { until: number; unreported: number };

const readings = new Map<string, Reading>();

/** Whether a run may be sent without asking the endpoint's object. Counts the run if so. */
export function passesUnasked(endpoint: string, now: number): boolean {
  const reading = readings.get(endpoint);
  // A clock that was set back does not extend the reading.
  if (reading === undefined || now >= reading.until || now < reading.until - CLOSED_FRESH_MS) {
    return false;
  }
  reading.unreported += 1;
  return true;
}

/** Returns how many runs were sent without asking, and counts from 0 again: the caller reports them. */
export function takeUnreported(endpoint: string): number {
  const count = readings.get(endpoint)?.unreported ?? 0;
  readings.set(endpoint, { until: -Infinity, unreported: 0 });
  return count;
}

/** Notes that the endpoint's object has reported a closed circuit breaker without failed calls. */
export function rememberClosed(endpoint: string, now: number): void {
  readings.set(endpoint, { until: now + CLOSED_FRESH_MS, unreported: readings.get(endpoint)?.unreported ?? 0 });
}

/** Has the next run ask again, after a failed call of `/run`. */
export function forgetClosed(endpoint: string): void {
  const reading = readings.get(endpoint);
  if (reading !== undefined) {
    reading.until = -Infinity;
  }
}
