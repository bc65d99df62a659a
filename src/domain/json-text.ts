import { JSON_ESCAPES } from '../lib/json-escapes.ts';

/** The content of a text in JSON: bytes between its quotes, in UTF-8, with escapes. */

export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;
/** The first of the characters that JSON has no place for in a text is the space. */
const SPACE = 0x20;
/** What stands for a character of an escape that is not ASCII. */
const NOT_ASCII = 0xff;
const ESCAPE = /^\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))$/;
const ESCAPE_BEGUN = /^\\(?:u[0-9a-fA-F]{0,3})?$/;

/** A text of which a part has been read. `escape`: an escape that has begun, as it was written; `chars`: characters read, as written. */
export type Unescaping = { escape: string; chars: number };

/**
 * Undoes the escapes of a text within the chunk itself, from `from` on: what it stands for ends at `out`. `at`: where the chunk or the text
 * ends, or a mistake is; one in an escape has `escape` in front of it.
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

/** Where characters end that stand for themselves, from `from` on; they are counted. Bytes that continue one are none of UTF-8's. */
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
