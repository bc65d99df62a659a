import type { Tally } from './tally.ts';
import { text, type Cursor, type Parser } from './file-cursor.ts';

/**
 * Images in ISO media files: AVIF, HEIC and similar types (ISO/IEC 23008-12). Each `ispe` is the size of an image, a
 * tile or a thumbnail; a decoder decodes one image of them. A track is an animation; a decoder decodes every sample. A
 * `meta` box with an `ispe` is an image even in a file with the type of a video.
 */
export function* isoPicture(cursor: Cursor, tally: Tally): Parser<void> {
  yield* boxes(cursor, tally, { from: 0, to: cursor.size }, PICTURE_BOXES);
  if (tally.pictures === 0 && tally.largest !== null) {
    tally.add(tally.largest.width, tally.largest.height);
  }
}

/** The same for videos and audio. Their tracks are not images, because decoders read one frame at a time. */
export function* isoVideo(cursor: Cursor, tally: Tally): Parser<void> {
  yield* boxes(cursor, tally, { from: 0, to: cursor.size }, new Set(['meta']));
}

/**
 * The number of boxes at the top of a file that are read. Images have fewer than ten; a fragmented video has thousands.
 */
const MAX_TOP_BOXES = 64;

const PICTURE_BOXES = new Set(['meta', 'moov', 'moof']);
const CONTAINERS = new Set(['iprp', 'ipco', 'trak', 'mdia', 'minf', 'stbl', 'traf']);

type Span = { from: number; to: number };

function* boxes(cursor: Cursor, tally: Tally, { from, to }: Span, top: ReadonlySet<string> | null): Parser<void> {
  const track = { width: 0, height: 0, frames: 0 };
  let boxCount = 0;
  for (let at = from; at + 8 <= to && !tally.full; boxCount += 1) {
    const header = yield* cursor.bytes(at, 8);
    if (header === null || (top !== null && boxCount >= MAX_TOP_BOXES)) {
      break;
    }
    const name = text(header, 4, 4);
    const short = header.getUint32(0);
    const long = short === 1 ? yield* cursor.bytes(at + 8, 8) : null;
    const body = at + (long === null ? 8 : 16);
    const length = long === null ? short : Number(long.getBigUint64(0));
    const end = length === 0 ? to : Math.min(to, at + length);
    if (end < body) {
      break;
    }
    if (top === null || top.has(name)) {
      yield* box(cursor, tally, name, { from: body, to: end }, track);
    }
    at = end;
  }
  tally.add(track.width, track.height, track.frames);
}

function* box(
  cursor: Cursor,
  tally: Tally,
  name: string,
  { from, to }: Span,
  track: { width: number; height: number; frames: number },
): Parser<void> {
  switch (name) {
    case 'meta':
      // Begins with version and flags, except in QuickTime.
      yield* boxes(cursor, tally, { from: (yield* isQuickTimeMeta(cursor, from)) ? from : from + 4, to }, null);
      break;
    case 'ispe': {
      const view = yield* cursor.bytes(from + 4, 8);
      if (view !== null) {
        tally.canvas(view.getUint32(0), view.getUint32(4));
      }
      break;
    }
    case 'stsd': {
      // The version, the count and the first entry: its size, name, eight and sixteen bytes, width and height.
      const view = yield* cursor.bytes(from + 8 + 32, 4);
      if (view !== null) {
        track.width = Math.max(track.width, view.getUint16(0));
        track.height = Math.max(track.height, view.getUint16(2));
      }
      break;
    }
    case 'stsz':
    case 'stz2': {
      const view = yield* cursor.bytes(from + 8, 4);
      track.frames += view?.getUint32(0) ?? 0;
      break;
    }
    default:
      if (CONTAINERS.has(name) || name === 'moov') {
        yield* boxes(cursor, tally, { from, to }, null);
      }
  }
}

function* isQuickTimeMeta(cursor: Cursor, from: number): Parser<boolean> {
  const view = yield* cursor.bytes(from + 4, 4);
  return view !== null && text(view, 0, 4) === 'hdlr';
}
