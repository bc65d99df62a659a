/** Times of the gateway are ms since the epoch; the ones that leave it are ISO 8601 in UTC, with milliseconds. */

export const DAY_MS = 86_400_000;

export const iso = (ms: number): string => new Date(ms).toISOString();

export const isoOrNull = (ms: number | null | undefined): string | null =>
  ms === null || ms === undefined ? null : iso(ms);

/** The UTC day: `2026-11-21`. */
export const isoDay = (ms: number): string => iso(ms).slice(0, 'yyyy-mm-dd'.length);
