import type { Cut } from './json-extract.ts';
import { describeSyntaxIssue, findSyntaxIssue } from './json-syntax.ts';
import { invalidRequest, pointer, type Problem, type Issue } from './problems.ts';
import { fail, ok, type Result } from './result.ts';

declare global {
  interface JSON {
    /**
     * Text that `JSON.stringify` writes unchanged (TC39 "JSON.parse source text access"; missing in TypeScript's
     * library).
     */
    rawJSON(text: string): object;
  }
}

/** Far deeper than any real graph, and far shallower than the limit of a recursive serializer. */
const MAX_DEPTH = 64;
/** The most values in a body. The largest allowed workflow has fewer. Limits the memory and time of one request. */
const MAX_VALUES = 500_000;
/** Integers with fewer digits are safe integers. */
const LONG_DIGITS = 16;
/**
 * The largest integer that a node accepts: ComfyUI's seeds reach 2^64 - 1 (reference/comfyui.md), signed integers
 * -2^63.
 */
export const MAX_INTEGER = 2n ** 64n - 1n;
const MIN_INTEGER = -(2n ** 63n);
/** The longest of them has 20 digits, or a sign and 19 digits. */
const MAX_INTEGER_CHARS = 20;

/**
 * Parses a body. Integers that a double cannot represent become `bigint`; `jsonText` writes them back exactly. In
 * addition to `JSON.parse`, it rejects values that no schema checks and that would fail later: more than `MAX_VALUES`
 * values, nesting deeper than `MAX_DEPTH`, strings with lone surrogates (file names and URLs cannot contain them),
 * numbers that overflow to infinity, integers that no node accepts, and the key `__proto__`, which is not a plain field
 * in JavaScript.
 * @param cuts where the text is shorter than the body that the client sent (`json-extract.ts`)
 */
export function parseJson(text: string, cuts: readonly Cut[] = []): Result<unknown, Problem> {
  const survey = surveyed(text);
  if (survey.issue !== null) {
    return fail(invalidRequest([survey.issue]));
  }
  let body: unknown;
  try {
    // A reviver is much slower than parsing, so it is used only for a text that may contain such an integer.
    body = survey.longNumbers ? JSON.parse(text, exactInteger) : JSON.parse(text);
  } catch {
    const issue = findSyntaxIssue(text, cuts);
    return fail({
      code: 'invalid_json',
      detail: issue === null ? 'The body is not JSON.' : describeSyntaxIssue(issue),
    });
  }
  const unsafe = unsafeValue(body);
  return unsafe === null ? ok(body) : fail(invalidRequest([unsafe]));
}

/** Writes a value as JSON text, including `bigint`s, on which `JSON.stringify` alone throws. */
export const jsonText = (value: unknown): string => JSON.stringify(value, rawInteger);

const rawInteger = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? JSON.rawJSON(String(value)) : value;

/**
 * A reviver: unsafe integers become `bigint`, and integers beyond the limits become infinity, which is rejected with
 * its position.
 */
function exactInteger(_key: string, value: unknown, { source }: { source?: string } = {}): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || source === undefined || !/^-?\d+$/.test(source)) {
    return value;
  }
  const exact = source.length > MAX_INTEGER_CHARS ? null : BigInt(source);
  return exact === null || exact > MAX_INTEGER || exact < MIN_INTEGER ? Infinity : exact;
}

type Survey = { issue: Issue | null; longNumbers: boolean };

/** Checks the structure of the text before values are built. Skips strings with a native search. */
function surveyed(text: string): Survey {
  let depth = 0;
  let values = 1;
  let digits = 0;
  let longNumbers = false;
  const over = (detail: string): Survey => ({ issue: { pointer: '#', code: 'out_of_range', detail }, longNumbers });
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    digits = char !== undefined && char >= '0' && char <= '9' ? digits + 1 : 0;
    longNumbers ||= digits >= LONG_DIGITS;
    switch (char) {
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
      return over(`A body may be nested at most ${MAX_DEPTH} levels deep.`);
    }
    if (values > MAX_VALUES) {
      return over(`A body may have at most ${MAX_VALUES} values.`);
    }
  }
  return { issue: null, longNumbers };
}

/** The index of the quote that ends the string at `start`; the end of the text when there is none. */
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

/** A value with its path as a linked list to the root, which is cheap to extend and written out only for an issue. */
type Place = { value: unknown; key: string; up: Place | null };

/** Finds the first unsafe value. The depth is already limited, so recursion is safe. */
function unsafeValue(body: unknown): Issue | null {
  const todo: Place[] = [{ value: body, key: '', up: null }];
  for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
    const { value } = place;
    if (typeof value === 'string' && !value.isWellFormed()) {
      return {
        pointer: pointerTo(place),
        code: 'invalid_value',
        detail: 'A string contains half of a surrogate pair.',
      };
    }
    if (typeof value === 'number' && !Number.isFinite(value)) {
      return { pointer: pointerTo(place), code: 'out_of_range', detail: 'A number is too large.' };
    }
    if (typeof value !== 'object' || value === null) {
      continue;
    }
    for (const [key, inner] of Object.entries(value)) {
      const within: Place = { value: inner, key, up: place };
      if (key === '__proto__' || !key.isWellFormed()) {
        const detail =
          key === '__proto__'
            ? '"__proto__" cannot be a field name.'
            : 'A field name contains half of a surrogate pair.';
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
