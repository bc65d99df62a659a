import { JSON_ESCAPES } from '../lib/json-escapes.ts';

/** Decodes the content of a JSON string: the UTF-8 bytes between its quotes, with escapes. */

export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;
/** JSON does not allow characters below the space in a string. */
const SPACE = 0x20;
/** Replaces an escaped character that is not ASCII. */
const NOT_ASCII = 0xff;
const ESCAPE = /^\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))$/;
const ESCAPE_BEGUN = /^\\(?:u[0-9a-fA-F]{0,3})?$/;

/**
 * The state of a partly read string. `escape`: an incomplete escape as written; `chars`: characters read, as written.
 */
export type Unescaping = { escape: string; chars: number };

/**
 * Decodes the escapes of a string in place, from `from` on. The decoded bytes end at `out`. `at`: the end of the chunk
 * or the string, or the position of a syntax error; for an error in an escape, `escape` contains the characters before
 * it.
 */
export function unescapeWithin(chunk: Uint8Array, from: number, taken: Unescaping): { at: number; out: number } {
  let at = from;
  let out = from;
  while (at < chunk.length) {
    const byte = chunk[at] ?? 0;
    if (taken.escape !== '') {
      const escape = taken.escape + String.fromCharCode(byte);
      const [, code, char] = ESCAPE.exec(escape) ?? [];
      if (code === undefined && char === undefined && !ESCAPE_BEGUN.test(escape)) {
        break;
      }
      at += 1;
      taken.escape = escape;
      if (code !== undefined || char !== undefined) {
        chunk[out] = byteOf(code, char);
        out += 1;
        taken.chars += escape.length;
        taken.escape = '';
      }
    } else if (byte === BACKSLASH) {
      taken.escape = '\\';
      at += 1;
    } else if (byte === QUOTE || byte < SPACE) {
      break;
    } else {
      const plain = endOfPlain(chunk, at, taken);
      if (out !== at) {
        chunk.copyWithin(out, at, plain);
      }
      out += plain - at;
      at = plain;
    }
  }
  return { at, out };
}

function byteOf(code: string | undefined, char: string | undefined): number {
  const value = code === undefined ? JSON_ESCAPES.get(char ?? '')?.charCodeAt(0) : Number.parseInt(code, 16);
  return value === undefined || value > 0x7f ? NOT_ASCII : value;
}

/**
 * Returns the end of the plain characters from `from` on, and counts them. UTF-8 continuation bytes are not counted.
 */
function endOfPlain(chunk: Uint8Array, from: number, taken: Unescaping): number {
  let continuing = 0;
  let at = from;
  for (; at < chunk.length; at += 1) {
    const byte = chunk[at] ?? 0;
    if (byte === QUOTE || byte === BACKSLASH || byte < SPACE) {
      break;
    }
    continuing += byte >= 0x80 && byte <= 0xbf ? 1 : 0;
  }
  taken.chars += at - from - continuing;
  return at;
}
