import type { Tally } from './tally.ts';
import { latin1, text, type Cursor, type Parser } from './file-cursor.ts';

/** Image types with the size in a short header. */

/** BMP: the oldest header has 16 bits for each. In all others a negative height means that the top row is first. */
export function* bmp(cursor: Cursor, tally: Tally): Parser<void> {
  const header = yield* cursor.bytes(14, 12);
  if (header === null) {
    return;
  }
  if (header.getUint32(0, true) === 12) {
    tally.add(header.getUint16(4, true), header.getUint16(6, true));
  } else {
    tally.add(header.getInt32(4, true), Math.abs(header.getInt32(8, true)));
  }
}

/**
 * PSD and PSB (Adobe Photoshop File Formats Specification, File Header Section): the canvas. Layers are decoded into
 * it.
 */
export function* psd(cursor: Cursor, tally: Tally): Parser<void> {
  const header = yield* cursor.bytes(14, 8);
  if (header !== null) {
    tally.add(header.getUint32(4), header.getUint32(0));
  }
}

/** The longest header of a Radiance image that is read. */
const MAX_HEADER_BYTES = 64 * 1024;

/** Radiance HDR: lines of text, an empty one, and the resolution. */
export function* radiance(cursor: Cursor, tally: Tally): Parser<void> {
  const header = yield* cursor.bytes(0, Math.min(cursor.size, MAX_HEADER_BYTES));
  const lines = header === null ? '' : text(header, 0, header.byteLength);
  const [, first = '', one, other] = /\n\n[+-]([XY]) +(\d{1,10}) +[+-][XY] +(\d{1,10})\n/.exec(lines) ?? [];
  const [width, height] = first === 'X' ? [one, other] : [other, one];
  tally.add(Number(width ?? 0), Number(height ?? 0));
}

/**
 * OpenEXR: attributes of one or more parts. The data window and the display window can differ; a decoder allocates one
 * of them.
 */
export function* exr(cursor: Cursor, tally: Tally): Parser<void> {
  const hasParts = (((yield* cursor.byte(5)) ?? 0) & 0x10) !== 0;
  for (let at = 8; !tally.full;) {
    const name = yield* word(cursor, at);
    if (name === null || name === '') {
      // The end of a part's attributes. Another empty name follows the last part.
      if (name === null || !hasParts || (yield* cursor.byte(at + 1)) === 0) {
        return;
      }
      at += 1;
      continue;
    }
    const type = yield* word(cursor, at + name.length + 1);
    const value = at + name.length + 1 + (type?.length ?? 0) + 1;
    const length = type === null ? null : yield* cursor.bytes(value, 4);
    if (length === null) {
      return;
    }
    const box = type === 'box2i' ? yield* cursor.bytes(value + 4, 16) : null;
    if (box !== null && (name === 'dataWindow' || name === 'displayWindow')) {
      const width = box.getInt32(8, true) - box.getInt32(0, true) + 1;
      const height = box.getInt32(12, true) - box.getInt32(4, true) + 1;
      tally.add(width, height, name === 'dataWindow' ? 1 : 0);
    }
    at = value + 4 + length.getUint32(0, true);
  }
}

/** The longest name in an EXR (OpenEXR file layout, version field). */
const MAX_WORD_BYTES = 256;

const ZERO = latin1('\0');

/** Returns the zero-terminated text at an offset; null if it has no end. */
function* word(cursor: Cursor, at: number): Parser<string | null> {
  const end = yield* cursor.find(ZERO, at);
  const view = end === null || end - at > MAX_WORD_BYTES ? null : yield* cursor.bytes(at, end - at);
  return view === null ? null : text(view, 0, view.byteLength);
}
