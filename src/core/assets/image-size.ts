/**
 * How large a picture becomes when it is decoded, read from its header alone. A few kilobytes can decode to gigabytes; nobody
 * should have to find out by trying. Kinds that are not read here (TIFF, AVIF, HEIC, PSD, EXR, Radiance) are `unread`.
 */
export type ImageSize = { width: number; height: number } | 'unread' | 'malformed';

/** A JPEG's size stands behind metadata of any length; this much of a file is looked at. */
export const IMAGE_HEADER_BYTES = 1024 * 1024;

/** `head`: the first `IMAGE_HEADER_BYTES` of the file, or all of it. `type`: as sniffed. */
export function imageSize(head: Uint8Array, type: string): ImageSize {
  const size = read(new DataView(head.buffer, head.byteOffset, head.byteLength), type);
  return size === 'unread' || (size !== null && size.width > 0 && size.height > 0) ? size : 'malformed';
}

type Size = { width: number; height: number };

function read(view: DataView, type: string): Size | null | 'unread' {
  try {
    switch (type) {
      case 'image/png':
        return png(view);
      case 'image/jpeg':
        return jpeg(view);
      case 'image/gif':
        return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
      case 'image/webp':
        return webp(view);
      case 'image/bmp':
        return bitmap(view);
      default:
        return 'unread';
    }
  } catch (error) {
    if (error instanceof RangeError) {
      // It ends within its header.
      return null;
    }
    throw error;
  }
}

/** The header chunk is the first (PNG specification, section 5.6). */
const png = (view: DataView): Size | null =>
  view.getUint32(12) === 0x49484452 ? { width: view.getUint32(16), height: view.getUint32(20) } : null;

/** From marker to marker up to the first scan (ITU-T T.81, annex B); of several frames the largest. */
function jpeg(view: DataView): Size | null {
  let largest: Size | null = null;
  let at = 2;
  while (at + 4 <= view.byteLength) {
    if (view.getUint8(at) !== 0xff) {
      return null;
    }
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) {
      at += 2;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) {
      return largest;
    }
    if (isFrame(marker) && at + 9 <= view.byteLength) {
      const size = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
      largest = largest === null || area(size) > area(largest) ? size : largest;
    }
    at += 2 + view.getUint16(at + 2);
  }
  return largest;
}

/** Start of frame, but not the three markers among them that are something else. */
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;

const area = ({ width, height }: Size): number => width * height;

/** The first chunk is a canvas (extended), a lossless or a lossy picture (RFC 9649). */
function webp(view: DataView): Size | null {
  switch (view.getUint32(12)) {
    case 0x56503858:
      return { width: uint24(view, 24) + 1, height: uint24(view, 27) + 1 };
    case 0x5650384c: {
      const bits = view.getUint32(21, true);
      return view.getUint8(20) === 0x2f ? { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 } : null;
    }
    case 0x56503820: {
      const starts = view.getUint16(23) === 0x9d01 && view.getUint8(25) === 0x2a;
      return starts ? { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff } : null;
    }
    default:
      return null;
  }
}

const uint24 = (view: DataView, at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);

/** The oldest header has 16 bits for each; in all others a negative height means rows from the top. */
const bitmap = (view: DataView): Size =>
  view.getUint32(14, true) === 12
    ? { width: view.getUint16(18, true), height: view.getUint16(20, true) }
    : { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
