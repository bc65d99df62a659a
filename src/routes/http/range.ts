/**
 * `Range` of one resource (RFC 9110 section 14). Pure.
 *
 * Own code: R2's `get(key, {range: headers})` answers all of an object to a range outside of it or to none at all (here
 * 416), and does not know `If-Range`; texts that a worker reports are not in R2. `range-parser` 1.3 does not know
 * `If-Range` either.
 */

export type Range = { offset: number; length: number };

type Resource = { size: number; etag: string; modified: Date };

const BYTES = /^bytes=\s*(.*)$/i;
const ONE = /^(\d*)-(\d*)$/;

/**
 * The range to serve; null for all of it; `unsatisfiable` for 416. A unit other than bytes and a list of ranges are
 * ignored, as the RFC allows. A malformed range is refused rather than ignored, so that a client with a bug gets an
 * error instead of 5 GB.
 */
export function rangeOf(headers: Headers, resource: Resource): Range | null | 'unsatisfiable' {
  const asked = headers.get('range');
  if (asked === null || !rangeStillMeant(headers.get('if-range'), resource)) {
    return null;
  }
  const set = BYTES.exec(asked.trim())?.[1];
  if (set === undefined) {
    return asked.includes('=') ? null : 'unsatisfiable';
  }
  const ranges = set.split(',').map((each) => each.trim());
  const parsed = ranges.map((each) => ONE.exec(each));
  if (parsed.some((each) => each === null || (each[1] === '' && each[2] === ''))) {
    return 'unsatisfiable';
  }
  const [only, ...others] = parsed;
  if (only === null || only === undefined || others.length > 0) {
    return null;
  }
  return within(only[1] ?? '', only[2] ?? '', resource.size);
}

function within(first: string, last: string, size: number): Range | 'unsatisfiable' {
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  const backwards = last !== '' && Number(last) < offset;
  return offset >= size || backwards ? 'unsatisfiable' : { offset, length: end - offset + 1 };
}

/**
 * `If-Range`: the range applies only to the version that the client has. A weak ETag never matches; a date must be
 * exact.
 */
function rangeStillMeant(condition: string | null, resource: Resource): boolean {
  if (condition === null) {
    return true;
  }
  if (condition.includes('"')) {
    return condition.trim() === resource.etag;
  }
  return Date.parse(condition) === wholeSeconds(resource.modified);
}

/** HTTP dates have no milliseconds. */
export const wholeSeconds = (date: Date): number => Math.floor(date.getTime() / 1000) * 1000;
