import type { Tally } from './tally.ts';
import { text, type Cursor, type Walk } from './walk.ts';

/**
 * Pictures in ISO media files: AVIF, HEIC and the like (ISO/IEC 23008-12). Every `ispe` is the size of a picture, of a
 * tile of one, or of a thumbnail, of which a decoder takes one; a track is an animation, of which it takes every
 * sample. Whoever calls it a video, `meta` with an `ispe` is a picture all the same.
 */
export function* isoPicture(cursor: Cursor, tally: Tally): Walk<void> {
  yield* boxes(cursor, tally, { from: 0, to: cursor.size }, PICTURE_BOXES);
  if (tally.pictures === 0 && tally.largest !== null) {
    tally.add(tally.largest.width, tally.largest.height);
  }
}

/** The same for what is a video or a sound: its tracks are no pictures, and decoders read their size frame by frame. */
export function* isoFilm(cursor: Cursor, tally: Tally): Walk<void> {
  yield* boxes(cursor, tally, { from: 0, to: cursor.size }, new Set(['meta']));
}

/**
 * Boxes at the top of a file that are looked at. Pictures have fewer than ten; a video cut into fragments has
 * thousands.
 */
const MAX_TOP_BOXES = 64;

const PICTURE_BOXES = new Set(['meta', 'moov', 'moof']);
const CONTAINERS = new Set(['iprp', 'ipco', 'trak', 'mdia', 'minf', 'stbl', 'traf']);

type Span = { from: number; to: number };

function* boxes(cursor: Cursor, tally: Tally, { from, to }: Span, top: ReadonlySet<string> | null): Walk<void> {
  const track = { width: 0, height: 0, frames: 0 };
  let looked = 0;
  for (let at = from; at + 8 <= to && !tally.full; looked += 1) {
    const header = yield* cursor.bytes(at, 8);
    if (header === null || (top !== null && looked >= MAX_TOP_BOXES)) {
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
): Walk<void> {
  switch (name) {
    case 'meta':
      // Begins with version and flags, but in QuickTime.
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
      // version, count; then the first entry: its size, name, eight and sixteen bytes, width and height.
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

function* isQuickTimeMeta(cursor: Cursor, from: number): Walk<boolean> {
  const view = yield* cursor.bytes(from + 4, 4);
  return view !== null && text(view, 0, 4) === 'hdlr';
}
