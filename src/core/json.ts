import { invalidRequest, pointer, type CoreProblem, type Fault } from './problems.ts';
import { fail, ok, type Result } from './result.ts';

/** Far deeper than any real graph, far shallower than what overflows a recursive serialiser. */
const MAX_DEPTH = 64;
/** Values in a body; a workflow of the largest size allowed has fewer. Bounds the memory and time of one request. */
const MAX_VALUES = 500_000;

/**
 * Parses a body. Beyond `JSON.parse` it refuses what no schema looks for and what would break something later: so many values
 * that they fill an isolate, nesting that overflows serialisers, strings that are no Unicode (file names and URLs cannot carry
 * them), numbers that overflow to infinity, and the key `__proto__`, which is no plain field in JavaScript.
 */
export function parseJson(text: string): Result<unknown, CoreProblem> {
  const large = oversized(text);
  if (large !== null) {
    return fail(invalidRequest([large]));
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return fail({ code: 'invalid_json', detail: 'the body is not JSON' });
  }
  const unsafe = unsafeValue(body);
  return unsafe === null ? ok(body) : fail(invalidRequest([unsafe]));
}

/** Looks at the structure of the text only, before anything is built from it. Strings are skipped by a native search. */
function oversized(text: string): Fault | null {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '"':
        at = endOfString(text, at);
        break;
      case '{':
      case '[':
        depth += 1;
        values += 1;
        break;
      case '}':
      case ']':
        depth -= 1;
        break;
      case ',':
        values += 1;
        break;
      default:
    }
    if (depth > MAX_DEPTH) {
      return { pointer: '#', code: 'out_of_range', detail: `a body may be nested ${MAX_DEPTH} deep` };
    }
    if (values > MAX_VALUES) {
      return { pointer: '#', code: 'out_of_range', detail: `a body may hold ${MAX_VALUES} values` };
    }
  }
  return null;
}

/** Index of the quote that ends the string which begins at `start`; the end of the text if none does. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text[end - 1 - slashes] === '\\') {
      slashes += 1;
    }
    if (slashes % 2 === 0) {
      return end;
    }
  }
  return text.length;
}

/** A value together with the way to it: a chain to the root, cheap to extend and spelled out only for a fault. */
type Place = { value: unknown; key: string; up: Place | null };

/** The first unsafe value found. The depth is bounded already, so walking needs no guard. */
function unsafeValue(body: unknown): Fault | null {
  const todo: Place[] = [{ value: body, key: '', up: null }];
  for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
    const { value } = place;
    if (typeof value === 'string' && !value.isWellFormed()) {
      return { pointer: pointerTo(place), code: 'invalid_value', detail: 'a string holds half of a surrogate pair' };
    }
    if (typeof value === 'number' && !Number.isFinite(value)) {
      return { pointer: pointerTo(place), code: 'out_of_range', detail: 'a number is too large' };
    }
    if (typeof value !== 'object' || value === null) {
      continue;
    }
    for (const [key, inner] of Object.entries(value)) {
      const within: Place = { value: inner, key, up: place };
      if (key === '__proto__' || !key.isWellFormed()) {
        const detail =
          key === '__proto__' ? '"__proto__" cannot be a field name' : 'a field name holds half of a surrogate pair';
        return { pointer: pointerTo(within), code: 'invalid_value', detail };
      }
      todo.push(within);
    }
  }
  return null;
}

function pointerTo(place: Place): string {
  const keys: string[] = [];
  for (let step: Place = place; step.up !== null; step = step.up) {
    keys.unshift(step.key);
  }
  return pointer(keys);
}
