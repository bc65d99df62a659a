import { HEAD_BYTES, sniff } from '../sniff.ts';
import { gif } from './gif.ts';
import { bmp, exr, psd, radiance } from './headers.ts';
import { isoFilm, isoPicture } from './iso-media.ts';
import { jpeg } from './jpeg.ts';
import { png } from './png.ts';
import { Tally, type PixelLimits } from './tally.ts';
import { tiff } from './tiff.ts';
import { Cursor, text, type Walk } from './walk.ts';
import { webp } from './webp.ts';

/**
 * What a file decodes to, without decoding it: a few kilobytes can become gigabytes, and nobody should have to find out
 * by trying. The sizes are what the file's headers say, of every frame and page.
 *
 * Own code: `image-size` 2.1 reads the first size that a file names, and an attacker writes a large one behind it
 * (decision 57).
 */

type Walker = (cursor: Cursor, tally: Tally) => Walk<void>;

/**
 * Every kind of picture that `sniff` knows, and how its size is read. A kind of picture that is not here is not
 * accepted.
 */
export const PICTURES: ReadonlyMap<string, Walker> = new Map([
  ['image/png', png],
  ['image/jpeg', jpeg],
  ['image/gif', gif],
  ['image/webp', webp],
  ['image/bmp', bmp],
  ['image/tiff', tiff],
  ['image/vnd.adobe.photoshop', psd],
  ['image/x-exr', exr],
  ['image/vnd.radiance', radiance],
  ['image/avif', isoPicture],
  ['image/heic', isoPicture],
  ['image/heif', isoPicture],
]);

/** Kinds that may hold a picture all the same. */
const OTHERS: ReadonlyMap<string, Walker> = new Map([
  ['video/mp4', isoFilm],
  ['video/quicktime', isoFilm],
  ['audio/mp4', isoFilm],
  ['audio/mpeg', tagged],
]);

function* unknownPicture(): Walk<void> {}

/**
 * MPEG audio with a tag in front (id3.org, id3v2.4.0-structure section 3.1). FFmpeg passes over the tag and decodes
 * what it finds behind it: a picture there is none of a sound's.
 */
function* tagged(cursor: Cursor): Walk<void> {
  const tag = yield* cursor.bytes(0, 10);
  if (tag === null || text(tag, 0, 3) !== 'ID3') {
    return;
  }
  const size = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + (tag.getUint8(at) & 127), 0);
  const behind = yield* cursor.bytes(10 + size, Math.min(HEAD_BYTES, Math.max(0, cursor.size - 10 - size)));
  if (behind !== null && PICTURES.has(sniff(bytesOf(behind), cursor.size) ?? '')) {
    cursor.refuse();
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: DataView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Kinds of picture that are read from beginning to end: a further picture may stand anywhere in them. */
const READ_WHOLE = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

/** Largest file of such a kind, in bytes: what is read of it, in seconds rather than minutes. */
export const MAX_READ_WHOLE_BYTES = 512 * 1024 * 1024;

/** `null`: nothing in the file is a picture, or nothing is wrong with those that are. */
export type Measured =
  | { problem: 'no_size' | 'unreadable' | 'file_too_large' }
  | { problem: 'pixels'; tally: Tally }
  | null;

/**
 * Walks through a file of this type. Null for a type that holds no pictures; a kind of picture that is not known has no
 * size.
 */
export function measure(type: string, size_bytes: number, limits: PixelLimits): Walk<Measured> | null {
  const walker = PICTURES.get(type) ?? OTHERS.get(type) ?? (type.startsWith('image/') ? unknownPicture : undefined);
  return walker === undefined ? null : measured(walker, type, size_bytes, limits);
}

function* measured(walker: Walker, type: string, size_bytes: number, limits: PixelLimits): Walk<Measured> {
  if (READ_WHOLE.has(type) && size_bytes > MAX_READ_WHOLE_BYTES) {
    return { problem: 'file_too_large' };
  }
  const cursor = new Cursor(size_bytes);
  const tally = new Tally(limits);
  yield* walker(cursor, tally);
  if (tally.full) {
    return { problem: 'pixels', tally };
  }
  if (cursor.refused) {
    return { problem: 'unreadable' };
  }
  return type.startsWith('image/') && tally.largest === null ? { problem: 'no_size' } : null;
}
