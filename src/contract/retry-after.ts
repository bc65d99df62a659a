/**
 * Longest wait that `Retry-After` can ask for, as long as the longest wait of the webhooks' own schedule. A longer one
 * counts as this.
 */
export const MAX_RETRY_AFTER_MS = 86_400_000;

/**
 * `Retry-After` in ms from now, at most `MAX_RETRY_AFTER_MS`: whole seconds or an HTTP date (RFC 9110 section 10.2.3);
 * null for anything else.
 */
export function readRetryAfter(header: string | null, now: number): number | null {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) {
    return Math.min(Number(text) * 1000, MAX_RETRY_AFTER_MS);
  }
  // A date always names its day; `Date.parse` alone would take `1.5` for a month.
  const date = /^[A-Z][a-z]+,? /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? null : Math.min(Math.max(0, date - now), MAX_RETRY_AFTER_MS);
}
