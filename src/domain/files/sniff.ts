import { plainName } from '../workflow/input-name.ts';

/**
 * Detects the type of a file by its first bytes. It knows only types that ComfyUI's loaders accept. The type that a
 * client sends is ignored. Signatures: the formats' own specifications, as collected in the WHATWG MIME Sniffing
 * Standard and in `file`'s magic table.
 *
 * Own code: `file-type` 22 knows over a hundred types, but this list is closed on purpose. It knows no text types, and
 * it may read more of a file than `HEAD_BYTES`.
 */

/** The number of first bytes that `sniff` needs. */
export const HEAD_BYTES = 4096;

type Signature = { type: string; at?: number; bytes: string };

/** `bytes` is Latin-1 text, so that signatures look as they are documented. The first match wins. */
const SIGNATURES: readonly Signature[] = [
  { type: 'image/png', bytes: '\x89PNG\r\n\x1a\n' },
  { type: 'image/jpeg', bytes: '\xff\xd8\xff' },
  { type: 'image/gif', bytes: 'GIF87a' },
  { type: 'image/gif', bytes: 'GIF89a' },
  { type: 'image/tiff', bytes: 'II*\0' },
  { type: 'image/tiff', bytes: 'MM\0*' },
  { type: 'image/vnd.adobe.photoshop', bytes: '8BPS' },
  { type: 'image/x-exr', bytes: '\x76\x2f\x31\x01' },
  { type: 'image/vnd.radiance', bytes: '#?RADIANCE' },
  { type: 'image/vnd.radiance', bytes: '#?RGBE' },
  { type: 'audio/flac', bytes: 'fLaC' },
  { type: 'audio/mpeg', bytes: 'ID3' },
  { type: 'model/gltf-binary', bytes: 'glTF' },
  { type: 'model/ply', bytes: 'ply\n' },
  { type: 'model/ply', bytes: 'ply\r\n' },
  { type: 'application/vnd.autodesk.fbx', bytes: 'Kaydara FBX Binary  \0' },
  { type: 'application/x-npy', bytes: '\x93NUMPY' },
];

const RIFF_FORMS: ReadonlyMap<string, string> = new Map([
  ['WEBP', 'image/webp'],
  ['WAVE', 'audio/wav'],
  ['AVI ', 'video/x-msvideo'],
]);

/** Major brands of ISO media files that are not videos. */
const BRANDS: ReadonlyMap<string, string> = new Map([
  ['avif', 'image/avif'],
  ['avis', 'image/avif'],
  ['heic', 'image/heic'],
  ['heix', 'image/heic'],
  ['heim', 'image/heic'],
  ['heis', 'image/heic'],
  ['hevc', 'image/heic'],
  ['hevm', 'image/heic'],
  ['hevs', 'image/heic'],
  ['hevx', 'image/heic'],
  ['mif1', 'image/heif'],
  ['mif2', 'image/heif'],
  ['msf1', 'image/heif'],
  ['M4A ', 'audio/mp4'],
  ['qt  ', 'video/quicktime'],
]);

/** All image types that `sniff` detects. */
export const PICTURE_TYPES: ReadonlySet<string> = new Set(
  [...SIGNATURES.map(({ type }) => type), ...RIFF_FORMS.values(), ...BRANDS.values(), 'image/bmp'].filter((type) =>
    type.startsWith('image/'),
  ),
);

/**
 * Text types have no signature. The extension of the name selects the type, and the bytes must be UTF-8 without control
 * characters.
 */
const TEXT_TYPES: ReadonlyMap<string, string> = new Map([
  ['txt', 'text/plain; charset=utf-8'],
  ['csv', 'text/csv; charset=utf-8'],
  ['srt', 'text/plain; charset=utf-8'],
  ['vtt', 'text/vtt; charset=utf-8'],
  ['json', 'application/json'],
  ['gltf', 'model/gltf+json'],
  ['obj', 'model/obj'],
  ['stl', 'model/stl'],
]);

/**
 * Texts that the decoders of ComfyUI's loaders open as media, regardless of the file name: playlists, through which
 * FFmpeg opens other files, and images in text form (Pillow: PNM, XBM, XPM, FITS, and EPS, which is a program). Their
 * size is not checked here.
 */
const OPENED_AS_MEDIA: readonly RegExp[] = [
  /^#EXTM3U/,
  /^ffconcat version/,
  /^\s*(?:<\?xml[^>]*>\s*)?<(?:MPD|CompositionPlaylist|AssetMap|SmoothStreamingMedia)\b/,
  /^P[1-6Ff]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s/,
  /^P7\s/,
  /^\s*#define\s/,
  /^\s*\/\* XPM \*\//,
  /^SIMPLE {2}=/,
  /^%!PS/,
];

/**
 * Returns the file's media type; null when no workflow could use it. `size` is the size of the whole file, in bytes.
 */
export function sniff(head: Uint8Array, size: number, name?: string): string | null {
  const extension =
    plainName(name ?? '')
      .toLowerCase()
      .split('.')
      .slice(1)
      .at(-1) ?? '';
  return (
    SIGNATURES.find((signature) => matches(head, signature.bytes, signature.at))?.type ??
    riff(head) ??
    isoMedia(head) ??
    matroska(head) ??
    ogg(head) ??
    bitmap(head, size) ??
    mpegAudio(head) ??
    safetensors(head, size) ??
    binaryStl(head, size, extension) ??
    text(head, extension)
  );
}

const matches = (head: Uint8Array, bytes: string, at = 0): boolean =>
  head.length >= at + bytes.length && latin1(head, at, at + bytes.length) === bytes;

const latin1 = (head: Uint8Array, from: number, to: number): string => String.fromCharCode(...head.subarray(from, to));

const view = (head: Uint8Array): DataView => new DataView(head.buffer, head.byteOffset, head.byteLength);

function riff(head: Uint8Array): string | null {
  if (!matches(head, 'RIFF')) {
    return null;
  }
  return RIFF_FORMS.get(latin1(head, 8, 12)) ?? null;
}

function isoMedia(head: Uint8Array): string | null {
  if (!matches(head, 'ftyp', 4)) {
    return null;
  }
  return BRANDS.get(latin1(head, 8, 12)) ?? 'video/mp4';
}

function matroska(head: Uint8Array): string | null {
  if (!matches(head, '\x1a\x45\xdf\xa3')) {
    return null;
  }
  return latin1(head, 0, 64).includes('webm') ? 'video/webm' : 'video/x-matroska';
}

function ogg(head: Uint8Array): string | null {
  if (!matches(head, 'OggS')) {
    return null;
  }
  return latin1(head, 0, 64).includes('theora') ? 'video/ogg' : 'audio/ogg';
}

/** Two letters are a weak signature, so the size in the header must match the file. */
function bitmap(head: Uint8Array, size: number): string | null {
  return matches(head, 'BM') && head.length >= 6 && view(head).getUint32(2, true) === size ? 'image/bmp' : null;
}

/** MPEG audio without a tag: eleven set bits, then a valid version, layer, bit rate and sample rate. */
function mpegAudio(head: Uint8Array): string | null {
  const [first = 0, second = 0, third = 0] = head;
  if (first !== 0xff || (second & 0xe0) !== 0xe0 || (second & 0x18) === 0x08) {
    return null;
  }
  if ((second & 0xf6) === 0xf0) {
    return 'audio/aac';
  }
  const valid = (second & 0x06) !== 0 && (third & 0xf0) !== 0xf0 && (third & 0xf0) !== 0 && (third & 0x0c) !== 0x0c;
  return valid ? 'audio/mpeg' : null;
}

/** Latents: the length of a JSON header as 64-bit little-endian, then that header. */
function safetensors(head: Uint8Array, size: number): string | null {
  if (head.length < 10 || head[8] !== 0x7b) {
    return null;
  }
  return view(head).getBigUint64(0, true) <= BigInt(size - 8) ? 'application/x-safetensors' : null;
}

/** A header of 80 arbitrary bytes, a count of triangles, and 50 bytes for each. The size must match. */
function binaryStl(head: Uint8Array, size: number, extension: string): string | null {
  if (extension !== 'stl' || head.length < 84) {
    return null;
  }
  return 84 + 50 * view(head).getUint32(80, true) === size ? 'model/stl' : null;
}

function text(head: Uint8Array, extension: string): string | null {
  const type = TEXT_TYPES.get(extension);
  if (type === undefined) {
    return null;
  }
  try {
    // The last character of the head may be incomplete, so this decodes with `stream`.
    const decoded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(head.subarray(0, HEAD_BYTES), {
      stream: true,
    });
    // oxlint-disable-next-line no-control-regex -- this pattern looks for control characters
    const isText = !/[\0-\x08\x0e-\x1f\x7f]/.test(decoded);
    return isText && !OPENED_AS_MEDIA.some((beginning) => beginning.test(decoded)) ? type : null;
  } catch {
    return null;
  }
}
