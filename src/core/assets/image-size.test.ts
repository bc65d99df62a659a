import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IMAGE_HEADER_BYTES, imageSize } from './image-size.ts';

const latin1 = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));
const be16 = (value: number) => [value >> 8, value & 255];
const be32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
const le16 = (value: number) => be16(value).toReversed();
const le24 = (value: number) => [...le16(value & 0xffff), value >>> 16];
const le32 = (value: number) => be32(value).toReversed();

const png = (width: number, height: number, first = 'IHDR') => [
  ...latin1('\x89PNG\r\n\x1a\n'),
  ...be32(13),
  ...latin1(first),
  ...be32(width),
  ...be32(height),
];
const segment = (marker: number, body: number[]) => [0xff, marker, ...be16(body.length + 2), ...body];
const frame = (width: number, height: number, marker = 0xc0) =>
  segment(marker, [8, ...be16(height), ...be16(width), 3]);
const jpeg = (...segments: number[][]) => [0xff, 0xd8, ...segments.flat(), ...segment(0xda, [0])];
const webp = (chunk: string, body: number[]) => [
  ...latin1('RIFF'),
  ...le32(99),
  ...latin1('WEBP'),
  ...latin1(chunk),
  ...le32(body.length),
  ...body,
];
const gif = (width: number, height: number) => [...latin1('GIF89a'), ...le16(width), ...le16(height), 0, 0, 0];
const bmp = (width: number, height: number) => [
  ...latin1('BM'),
  ...Array.from({ length: 12 }, () => 0),
  ...le32(40),
  ...le32(width),
  ...le32(height),
];

const W = 4000;
const H = 3000;

describe('the size of a picture is read from', () => {
  it.each([
    ['a PNG', 'image/png', png(W, H)],
    ['a baseline JPEG', 'image/jpeg', jpeg(frame(W, H))],
    ['a progressive JPEG', 'image/jpeg', jpeg(frame(W, H, 0xc2))],
    ['a JPEG behind metadata', 'image/jpeg', jpeg(segment(0xe1, Array(60_000).fill(1)), [0xff], frame(W, H))],
    ['a JPEG with tables before', 'image/jpeg', jpeg(segment(0xc4, [1, 2, 3, 4, 5, 6, 7, 8]), frame(W, H))],
    ['the largest of two frames of a JPEG', 'image/jpeg', jpeg(frame(1, 1), frame(W, H), frame(2, 2))],
    ['a GIF', 'image/gif', gif(W, H)],
    ['an extended WebP', 'image/webp', webp('VP8X', [0, 0, 0, 0, ...le24(W - 1), ...le24(H - 1)])],
    ['a lossless WebP', 'image/webp', webp('VP8L', [0x2f, ...le32((W - 1) | ((H - 1) << 14))])],
    ['a lossy WebP', 'image/webp', webp('VP8 ', [0, 0, 0, 0x9d, 0x01, 0x2a, ...le16(W | 0x4000), ...le16(H)])],
    ['a BMP', 'image/bmp', bmp(W, H)],
    ['a BMP with rows from the top', 'image/bmp', bmp(W, -H)],
  ])('%s', (_what, type, bytes) => {
    expect(imageSize(Uint8Array.from(bytes), type)).toEqual({ width: W, height: H });
  });
});

describe('a picture is malformed', () => {
  it.each([
    ['a PNG that does not begin with its header', 'image/png', png(W, H, 'tEXt')],
    ['a PNG without width', 'image/png', png(0, H)],
    ['a PNG that ends early', 'image/png', png(W, H).slice(0, 20)],
    ['a JPEG with a scan before a frame', 'image/jpeg', [0xff, 0xd8, ...segment(0xda, [0]), ...frame(W, H)]],
    ['a JPEG with something between its markers', 'image/jpeg', jpeg([1, 2, 3], frame(W, H))],
    ['a JPEG that says its height later', 'image/jpeg', jpeg(frame(W, 0))],
    ['a JPEG of metadata only', 'image/jpeg', [0xff, 0xd8, ...segment(0xe1, Array(1000).fill(1))]],
    ['a WebP with an unknown beginning', 'image/webp', webp('ICCP', Array(20).fill(0))],
    ['a lossy WebP without its start code', 'image/webp', webp('VP8 ', Array(20).fill(0))],
    ['a GIF that ends early', 'image/gif', gif(W, H).slice(0, 8)],
  ])('%s', (_what, type, bytes) => {
    expect(imageSize(Uint8Array.from(bytes), type)).toBe('malformed');
  });

  it('and never worse than that, whatever its bytes are', () => {
    const types = fc.constantFrom('image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/bmp');
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
        const size = imageSize(bytes, type);
        expect(size === 'malformed' || (typeof size === 'object' && size.width > 0 && size.height > 0)).toBe(true);
      }),
    );
  });

  it('and is found out in no time, however its segments lie', () => {
    const hostile = new Uint8Array(IMAGE_HEADER_BYTES).fill(0xff);
    hostile[1] = 0xd8;
    expect(imageSize(hostile, 'image/jpeg')).toBe('malformed');
  });
});

it('what is no picture, or of a kind that is not read, has no size here', () => {
  for (const type of ['image/tiff', 'image/avif', 'video/mp4', 'text/plain; charset=utf-8']) {
    expect(imageSize(new Uint8Array(10), type)).toBe('unread');
  }
});
