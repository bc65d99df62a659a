import type { Tally } from './tally.ts';
import { latin1, text, type Cursor, type Parser } from './file-cursor.ts';

const SIGNATURE = latin1('\x89PNG\r\n\x1a\n');

/**
 * PNG and APNG (PNG specification, third edition, sections 5 and 11.3.5). ComfyUI's loaders try FFmpeg first, and it
 * also decodes every further PNG after the first.
 */
export function* png(cursor: Cursor, tally: Tally): Parser<void> {
  for (let at: number | null = 0; at !== null && !tally.full;) {
    at = yield* cursor.find(SIGNATURE, yield* onePng(cursor, tally, at));
  }
}

/** Counts the frames of the PNG at `start`, and returns the offset of its end. */
function* onePng(cursor: Cursor, tally: Tally, start: number): Parser<number> {
  const header = yield* cursor.bytes(start + SIGNATURE.length, 16);
  if (header === null || text(header, 4, 4) !== 'IHDR') {
    return start + SIGNATURE.length;
  }
  const canvas = { width: header.getUint32(8), height: header.getUint32(12) };
  tally.add(canvas.width, canvas.height);
  let frames = 0;
  for (let at = start + SIGNATURE.length; !tally.full;) {
    const chunk = yield* cursor.bytes(at, 8);
    if (chunk === null) {
      return cursor.size;
    }
    const length = chunk.getUint32(0);
    switch (text(chunk, 4, 4)) {
      case 'IEND':
        return at + 12;
      case 'fcTL': {
        // sequence number, width, height, x, y
        const frame = yield* cursor.bytes(at + 8, 20);
        frames += 1;
        if (frame !== null) {
          const width = Math.max(canvas.width, frame.getUint32(4) + frame.getUint32(12));
          const height = Math.max(canvas.height, frame.getUint32(8) + frame.getUint32(16));
          // The first frame is usually the image that was counted already.
          tally.add(width, height, frames > 1 ? 1 : 0);
        }
      }
    }
    at += 12 + length;
  }
  return cursor.size;
}
