import type { Tally } from './tally.ts';
import type { Cursor, Parser } from './file-cursor.ts';

const EXTENSION = 0x21;
const IMAGE = 0x2c;
const TRAILER = 0x3b;

/**
 * GIF (GIF89a specification). A frame may be larger than the logical screen: Pillow then enlarges the canvas, from that
 * frame on, so both count.
 */
export function* gif(cursor: Cursor, tally: Tally): Parser<void> {
  const screen = yield* cursor.bytes(6, 7);
  if (screen === null) {
    return;
  }
  let [width, height] = [screen.getUint16(0, true), screen.getUint16(2, true)];
  tally.canvas(width, height);
  let at = 13 + colourTableBytes(screen.getUint8(4));
  while (!tally.full) {
    switch (yield* cursor.byte(at)) {
      case undefined:
      case TRAILER:
        return;
      case EXTENSION:
        at = yield* blocksEnd(cursor, at + 2);
        break;
      case IMAGE: {
        const image = yield* cursor.bytes(at + 1, 9);
        if (image === null) {
          return;
        }
        width = Math.max(width, image.getUint16(0, true) + image.getUint16(4, true));
        height = Math.max(height, image.getUint16(2, true) + image.getUint16(6, true));
        tally.add(width, height);
        at = yield* blocksEnd(cursor, at + 11 + colourTableBytes(image.getUint8(8)));
        break;
      }
      default:
        // Decoders skip bytes that do not start a block.
        at += 1;
    }
  }
}

/** Returns the size of the colour table that these flags announce, in bytes. */
const colourTableBytes = (flags: number): number => ((flags & 0x80) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1));

/** Returns the offset after a sequence of data blocks, which ends with an empty one. */
function* blocksEnd(cursor: Cursor, from: number): Parser<number> {
  for (let at = from; ;) {
    const length = cursor.holds(at, 1) ? cursor.at(at) : ((yield* cursor.byte(at)) ?? 0);
    at += 1 + length;
    if (length === 0) {
      return at;
    }
  }
}
