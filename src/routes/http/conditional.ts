import { wholeSeconds } from './range.ts';

/**
 * Preconditions of a GET or HEAD (RFC 9110 section 13). Pure.
 *
 * Own code: R2's `get(key, {onlyIf: headers})` does not say whether its answer is 304 or 412, throws for an `If-Match`
 * without quotes, and finds an object changed since its own `Last-Modified`, which has no milliseconds. It has no HEAD,
 * and not the texts that a worker reports.
 */

export type Precondition = 'holds' | 'failed' | 'not_modified';

/** Evaluated in the order of section 13.2.2; a date condition counts only where the ETag condition is absent. */
export function preconditionOf(headers: Headers, resource: { etag: string; modified: Date }): Precondition {
  const match = headers.get('if-match');
  const unmodified = headers.get('if-unmodified-since');
  if (match !== null ? !names(match, resource.etag, 'strong') : isAfter(resource.modified, unmodified)) {
    return 'failed';
  }
  const noneMatch = headers.get('if-none-match');
  if (noneMatch !== null) {
    return names(noneMatch, resource.etag, 'weak') ? 'not_modified' : 'holds';
  }
  const since = headers.get('if-modified-since');
  const isDate = since !== null && !Number.isNaN(Date.parse(since));
  return isDate && !isAfter(resource.modified, since) ? 'not_modified' : 'holds';
}

/**
 * Whether a list of ETags, or `*`, names this one. Weakly compared, `W/` does not matter; strongly, it never matches.
 */
function names(list: string, etag: string, comparison: 'weak' | 'strong'): boolean {
  if (list.trim() === '*') {
    return true;
  }
  return [...list.matchAll(/(W\/)?("[^"]*")/g)].some(
    ([, weak, tag]) => tag === etag && (comparison === 'weak' || weak === undefined),
  );
}

/** False for a date that cannot be read: such a condition is ignored. */
function isAfter(modified: Date, date: string | null): boolean {
  const limit = date === null ? Number.NaN : Date.parse(date);
  return !Number.isNaN(limit) && wholeSeconds(modified) > limit;
}
