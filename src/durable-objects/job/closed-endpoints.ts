/**
 * How long runs of this isolate are sent to an endpoint without asking its object, once that object has said that the breaker is
 * closed and no call fails. A breaker that opens is noticed this much later at most. RunPod takes 1,000 calls of `/run` per
 * endpoint in 10 s (reference/runpod.md 2.4), so at most 300 calls meet an endpoint that takes none; each of those runs waits and
 * goes again.
 */
export const CLOSED_FRESH_MS = 3_000;

/** `unreported`: runs that went without a question; the next question reports them. */
type Reading = { until: number; unreported: number };

const readings = new Map<string, Reading>();

/** Whether a run may go without asking the endpoint's object. One that may is counted. */
export function passesUnasked(endpoint: string, now: number): boolean {
  const reading = readings.get(endpoint);
  // A clock that was set back makes no reading last longer.
  if (reading === undefined || now >= reading.until || now < reading.until - CLOSED_FRESH_MS) {
    return false;
  }
  reading.unreported += 1;
  return true;
}

/** How many runs went without a question since the last one. Whoever asks reports them, so they are counted from 0 again. */
export function takeUnreported(endpoint: string): number {
  const count = readings.get(endpoint)?.unreported ?? 0;
  readings.set(endpoint, { until: -Infinity, unreported: 0 });
  return count;
}

/** The endpoint's object has just said that runs are sent and no call fails. */
export function rememberClosed(endpoint: string, now: number): void {
  readings.set(endpoint, { until: now + CLOSED_FRESH_MS, unreported: readings.get(endpoint)?.unreported ?? 0 });
}

/** A call of `/run` failed here: the next run asks again. */
export function forgetClosed(endpoint: string): void {
  const reading = readings.get(endpoint);
  if (reading !== undefined) {
    reading.until = -Infinity;
  }
}
