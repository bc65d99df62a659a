import type { Size, Tally } from './tally.ts';
import { latin1, text, type Cursor, type Parser } from './file-cursor.ts';

const RIFF = latin1('RIFF');
const RIFF_HEADER_BYTES = 12;
const FRAME_HEADER_BYTES = 16;

/**
 * WebP (RFC 9649): still, extended and animated. FFmpeg uses the image's own header and not the canvas. It also reads
 * beyond the length that the file states, and decodes every further WebP after the first.
 */
export function* webp(cursor: Cursor, tally: Tally): Parser<void> {
  yield* chunks(cursor, tally, RIFF_HEADER_BYTES, cursor.size);
  const first = yield* cursor.bytes(0, RIFF_HEADER_BYTES);
  let at = first === null ? null : yield* cursor.find(RIFF, 8 + first.getUint32(4, true));
  while (at !== null && !tally.full) {
    const header = yield* cursor.bytes(at, RIFF_HEADER_BYTES);
    if (header === null) {
      return;
    }
    const isWebp = text(header, 8, 4) === 'WEBP';
    const end = at + 8 + header.getUint32(4, true);
    if (isWebp) {
      yield* chunks(cursor, tally, at + RIFF_HEADER_BYTES, Math.min(end, cursor.size));
    }
    at = yield* cursor.find(RIFF, isWebp ? end : at + 1);
  }
}

/** Counts the images in the chunks between two offsets. In an animation each frame is as large as the canvas. */
function* chunks(cursor: Cursor, tally: Tally, from: number, to: number): Parser<void> {
  let canvas = NO_SIZE;
  let animated = false;
  for (let at = from; at + 8 <= to && !tally.full;) {
    const chunk = yield* cursor.bytes(at, 8);
    if (chunk === null) {
      return;
    }
    const length = chunk.getUint32(4, true);
    switch (text(chunk, 0, 4)) {
      case 'RIFF':
        // Another file begins.
        return;
      case 'VP8X': {
        const view = yield* cursor.bytes(at + 12, 6);
        if (view !== null) {
          canvas = { width: uint24(view, 0) + 1, height: uint24(view, 3) + 1 };
          tally.canvas(canvas.width, canvas.height);
        }
        break;
      }
      case 'ANMF': {
        const view = yield* cursor.bytes(at + 8, 12);
        if (view !== null) {
          const width = 2 * uint24(view, 0) + uint24(view, 6) + 1;
          const height = 2 * uint24(view, 3) + uint24(view, 9) + 1;
          canvas = { width: Math.max(canvas.width, width), height: Math.max(canvas.height, height) };
          tally.add(canvas.width, canvas.height);
        }
        animated = true;
        // The content of a frame is a sequence of chunks too.
        at += 8 + FRAME_HEADER_BYTES;
        continue;
      }
      case 'VP8L':
      case 'VP8 ': {
        const size = yield* text(chunk, 0, 4) === 'VP8L' ? losslessSize(cursor, at + 8) : lossySize(cursor, at + 8);
        // In an animation this frame was counted already.
        tally.add(size.width, size.height, animated ? 0 : 1);
      }
    }
    at += 8 + length + (length % 2);
  }
}

const NO_SIZE: Size = { width: 0, height: 0 };

/** The size in a lossless picture's own header (RFC 9649 section 3.4). */
function* losslessSize(cursor: Cursor, at: number): Parser<Size> {
  const header = yield* cursor.bytes(at, 5);
  if (header === null || header.getUint8(0) !== 0x2f) {
    return NO_SIZE;
  }
  const bits = header.getUint32(1, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

/** The size in a lossy picture's own header (RFC 6386 section 9.1). */
function* lossySize(cursor: Cursor, at: number): Parser<Size> {
  const header = yield* cursor.bytes(at + 3, 7);
  if (header === null || header.getUint16(0) !== 0x9d01 || header.getUint8(2) !== 0x2a) {
    return NO_SIZE;
  }
  return { width: header.getUint16(3, true) & 0x3fff, height: header.getUint16(5, true) & 0x3fff };
}

const uint24 = (view: DataView, at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
