import { HEAD_BYTES, sniff } from '../sniff.ts';
import { gif } from './gif.ts';
import { bmp, exr, psd, radiance } from './headers.ts';
import { isoVideo, isoPicture } from './iso-media.ts';
import { jpeg } from './jpeg.ts';
import { png } from './png.ts';
import { Tally, type PixelLimits } from './tally.ts';
import { tiff } from './tiff.ts';
import { Cursor, text, type Parser } from './file-cursor.ts';
import { webp } from './webp.ts';

/**
 * Measures the decoded size of a file without decoding it, because a few kilobytes can become gigabytes. The sizes are
 * read from the headers of every frame and page.
 *
 * Own code: `image-size` 2.1 reads only the first size in a file, and an attacker can write a larger one after it
 * (decision 57).
 */

type PictureParser = (cursor: Cursor, tally: Tally) => Parser<void>;

/**
 * The parser for each image type that `sniff` knows. An image type without a parser is not accepted.
 */
export const PICTURES: ReadonlyMap<string, PictureParser> = new Map([
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

/** Other types that can contain an image. */
const OTHER_TYPES: ReadonlyMap<string, PictureParser> = new Map([
  ['video/mp4', isoVideo],
  ['video/quicktime', isoVideo],
  ['audio/mp4', isoVideo],
  ['audio/mpeg', taggedAudio],
]);

function* unknownPicture(): Parser<void> {}

/**
 * MPEG audio after a tag (id3.org, id3v2.4.0-structure section 3.1). FFmpeg skips the tag and decodes the data after
 * it, so an image there is rejected.
 */
function* taggedAudio(cursor: Cursor): Parser<void> {
  const tag = yield* cursor.bytes(0, 10);
  if (tag === null || text(tag, 0, 3) !== 'ID3') {
    return;
  }
  const size = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + (tag.getUint8(at) & 127), 0);
  const following = yield* cursor.bytes(10 + size, Math.min(HEAD_BYTES, Math.max(0, cursor.size - 10 - size)));
  if (following !== null && PICTURES.has(sniff(bytesOf(following), cursor.size) ?? '')) {
    cursor.reject();
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: DataView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Image types that are read from beginning to end, because another image can start anywhere in the file. */
const READ_WHOLE = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

/** The largest file of such a type, in bytes. Reading it takes seconds, not minutes. */
export const MAX_READ_WHOLE_BYTES = 512 * 1024 * 1024;

/** The reason to reject a file. Null: it contains no image, or only images within the limits. */
export type Measured =
  | { problem: 'no_size' | 'unreadable' | 'file_too_large' }
  | { problem: 'pixels'; tally: Tally }
  | null;

/**
 * Returns a parser that measures a file of this type; null for a type that contains no images. For an unknown image
 * type the parser finds no size.
 */
export function measure(type: string, size_bytes: number, limits: PixelLimits): Parser<Measured> | null {
  const parse = PICTURES.get(type) ?? OTHER_TYPES.get(type) ?? (type.startsWith('image/') ? unknownPicture : undefined);
  return parse === undefined ? null : measured(parse, type, size_bytes, limits);
}

function* measured(parse: PictureParser, type: string, size_bytes: number, limits: PixelLimits): Parser<Measured> {
  if (READ_WHOLE.has(type) && size_bytes > MAX_READ_WHOLE_BYTES) {
    return { problem: 'file_too_large' };
  }
  const cursor = new Cursor(size_bytes);
  const tally = new Tally(limits);
  yield* parse(cursor, tally);
  if (tally.full) {
    return { problem: 'pixels', tally };
  }
  if (cursor.rejected) {
    return { problem: 'unreadable' };
  }
  return type.startsWith('image/') && tally.largest === null ? { problem: 'no_size' } : null;
}
