import type { Tally } from './tally.ts';
import type { Cursor, Parser } from './file-cursor.ts';

/** The most entries of all directories of a file. A page has about 20; a file with many more is an attack. */
const MAX_ENTRIES = 1_000_000;

const IMAGE_WIDTH = 256;
const IMAGE_LENGTH = 257;
const TILE_WIDTH = 322;
const TILE_LENGTH = 323;

/**
 * TIFF 6.0: a chain of directories anywhere in the file, one for each page. A decoder also allocates the tile size that
 * a page states.
 */
export function* tiff(cursor: Cursor, tally: Tally): Parser<void> {
  const header = yield* cursor.bytes(0, 8);
  if (header === null) {
    return;
  }
  const little = header.getUint8(0) === 0x49;
  const seen = new Set<number>();
  let entries = 0;
  for (let at = header.getUint32(4, little); at !== 0 && !seen.has(at) && !tally.full;) {
    seen.add(at);
    const count = (yield* cursor.bytes(at, 2))?.getUint16(0, little) ?? 0;
    entries += count;
    if (entries > MAX_ENTRIES) {
      cursor.reject();
      return;
    }
    const directory = yield* cursor.bytes(at + 2, 12 * count);
    if (directory === null) {
      return;
    }
    const value = (tag: number): number => largestValue(directory, tag, little);
    tally.add(value(IMAGE_WIDTH), value(IMAGE_LENGTH));
    tally.canvas(value(TILE_WIDTH), value(TILE_LENGTH));
    at = (yield* cursor.bytes(at + 2 + 12 * count, 4))?.getUint32(0, little) ?? 0;
  }
}

const BYTE = 1;
const SHORT = 3;

/**
 * Returns the value of a directory's entry, or 0 if there is none. Of several entries it returns the largest, because
 * decoders differ in which one they use.
 */
function largestValue(directory: DataView, tag: number, little: boolean): number {
  let largest = 0;
  for (let at = 0; at < directory.byteLength; at += 12) {
    if (directory.getUint16(at, little) === tag) {
      const type = directory.getUint16(at + 2, little);
      const value =
        type === SHORT
          ? directory.getUint16(at + 8, little)
          : type === BYTE
            ? directory.getUint8(at + 8)
            : directory.getUint32(at + 8, little);
      largest = Math.max(largest, value);
    }
  }
  return largest;
}
