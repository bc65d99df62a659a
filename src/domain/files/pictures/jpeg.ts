import type { Size, Tally } from './tally.ts';
import { latin1, type Cursor, type Parser } from './file-cursor.ts';

const START = latin1('\xff\xd8\xff');

/**
 * JPEG (ITU-T T.81, annex B) and JPEG-LS. In the multi-picture format (CIPA DC-007) more images follow the first one,
 * and FFmpeg decodes them.
 */
export function* jpeg(cursor: Cursor, tally: Tally): Parser<void> {
  let at: number | null = 0;
  for (let first = true; at !== null && !tally.full; first = false) {
    const { size, end }: OneJpeg = yield* oneJpeg(cursor, at);
    if (size !== null) {
      tally.add(size.width, size.height);
    } else if (first) {
      return;
    }
    at = yield* cursor.find(START, size === null ? at + 1 : end);
  }
}

type OneJpeg = { size: Size | null; end: number };

/**
 * Returns the largest frame of the JPEG at `start` and the offset of its end. `size` is null if no frame comes before
 * the first scan.
 */
function* oneJpeg(cursor: Cursor, start: number): Parser<OneJpeg> {
  let size: Size | null = null;
  let at = start + 2;
  for (;;) {
    const prefix = yield* cursor.byte(at);
    if (prefix !== 0xff) {
      return { size, end: at };
    }
    const marker = yield* cursor.byte(at + 1);
    if (marker === undefined || marker === END_OF_IMAGE) {
      return { size, end: at + 2 };
    }
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (hasNoLength(marker)) {
      at += 2;
      continue;
    }
    const segment = yield* cursor.bytes(at + 2, 7);
    const length = segment?.getUint16(0) ?? (yield* cursor.bytes(at + 2, 2))?.getUint16(0);
    if (length === undefined) {
      return { size, end: cursor.size };
    }
    if (segment !== null && isFrame(marker)) {
      size = larger(size, { height: segment.getUint16(3), width: segment.getUint16(5) });
    }
    at += 2 + length;
    if (marker === START_OF_SCAN) {
      if (size === null) {
        return { size, end: at };
      }
      at = yield* scanEnd(cursor, at);
    }
  }
}

const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;

/** Returns the end of coded data: the next marker that is neither a stuffed zero nor a restart. */
function* scanEnd(cursor: Cursor, from: number): Parser<number> {
  return (yield* cursor.search(from, 2, nextMarker)) ?? cursor.size;
}

function nextMarker(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0xff, from); at !== -1; at = bytes.indexOf(0xff, at + 1)) {
    const next = bytes[at + 1] ?? 0;
    if (next !== 0 && next !== 0xff && !isRestart(next)) {
      return at;
    }
  }
  return -1;
}

const isRestart = (marker: number): boolean => marker >= 0xd0 && marker <= 0xd7;
const hasNoLength = (marker: number): boolean => marker === 0x01 || marker === 0xd8 || isRestart(marker);

/** Start of frame in T.81, except three markers of the same range with another meaning, and in JPEG-LS. */
const isFrame = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) || marker === 0xf7;

const larger = (one: Size | null, other: Size): Size =>
  one === null || other.width * other.height > one.width * one.height ? other : one;
