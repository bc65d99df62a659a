import { describe, expect, it } from 'vitest';
import { limitsSchema } from '../../contract/limits.ts';
import { REAL_PICTURES } from '../../testing/pictures.ts';
import { inspect, inspectStored } from './inspect.ts';
import { MAX_READ_WHOLE_BYTES } from '../../domain/files/pictures/measure.ts';

const LIMITS = limitsSchema.parse({ max_image_pixels: 1_000_000, max_animation_pixels: 10_000_000 });

const latin1 = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));
const be16 = (value: number) => [value >> 8, value & 255];
const be32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
const le16 = (value: number) => be16(value).toReversed();
const le24 = (value: number) => [...le16(value & 0xffff), value >>> 16];
const le32 = (value: number) => be32(value).toReversed();
const zeros = (length: number): number[] => Array.from({ length }, () => 0);
const repeat = (count: number, what: number[]): number[] => Array.from({ length: count }, () => what).flat();

const chunk = (name: string, body: number[]) => [...be32(body.length), ...latin1(name), ...body, 0, 0, 0, 0];
const png = (width: number, height: number, ...chunks: number[][]) => [
  ...latin1('\x89PNG\r\n\x1a\n'),
  ...chunk('IHDR', [...be32(width), ...be32(height), 8, 2, 0, 0, 0]),
  ...chunks.flat(),
  ...chunk('IEND', []),
];
const fcTL = (width: number, height: number, x = 0) =>
  chunk('fcTL', [...be32(0), ...be32(width), ...be32(height), ...be32(x), ...be32(0), 0, 1, 0, 1, 0, 0]);

const segment = (marker: number, body: number[]) => [0xff, marker, ...be16(body.length + 2), ...body];
const sof = (width: number, height: number, marker = 0xc0) =>
  segment(marker, [8, ...be16(height), ...be16(width), 1, 0, 0, 0]);
const SCAN = [...segment(0xda, [1, 0, 0]), 1, 2, 0xff, 0, 3, 0xff, 0xd3, 4];
const jpeg = (...segments: number[][]) => [0xff, 0xd8, ...segments.flat(), ...SCAN, 0xff, 0xd9];

const gif = (screen: [number, number], ...frames: [number, number, number, number][]) => [
  ...latin1('GIF89a'),
  ...le16(screen[0]),
  ...le16(screen[1]),
  0x80,
  0,
  0,
  ...zeros(6),
  ...frames.flatMap(([x, y, w, h]) => [
    0x21,
    0xf9,
    4,
    0,
    0,
    0,
    0,
    0,
    0x2c,
    ...le16(x),
    ...le16(y),
    ...le16(w),
    ...le16(h),
    0,
    2,
    1,
    0,
    0,
  ]),
  0x3b,
];

const webpChunk = (name: string, body: number[]) => [
  ...latin1(name),
  ...le32(body.length),
  ...body,
  ...zeros(body.length % 2),
];
const riff = (...chunks: number[][]) => {
  const body = [...latin1('WEBP'), ...chunks.flat()];
  return [...latin1('RIFF'), ...le32(body.length), ...body];
};
const vp8x = (width: number, height: number) =>
  webpChunk('VP8X', [2, 0, 0, 0, ...le24(width - 1), ...le24(height - 1)]);
const vp8l = (width: number, height: number) =>
  webpChunk('VP8L', [0x2f, ...le32((width - 1) | ((height - 1) << 14)), 0]);
const vp8 = (width: number, height: number) =>
  webpChunk('VP8 ', [0, 0, 0, 0x9d, 0x01, 0x2a, ...le16(width), ...le16(height)]);
const anmf = (width: number, height: number, ...inner: number[][]) =>
  webpChunk('ANMF', [
    ...le24(0),
    ...le24(0),
    ...le24(width - 1),
    ...le24(height - 1),
    ...le24(100),
    0,
    ...inner.flat(),
  ]);

const bmp = (width: number, height: number) => {
  const rest = [...zeros(4), ...le32(54), ...le32(40), ...le32(width), ...le32(height), ...zeros(28)];
  return [...latin1('BM'), ...le32(rest.length + 6), ...rest];
};

type Entry = [tag: number, type: number, value: number];
/** Directories one behind the other; `big`: of the byte order. */
function tiff(big: boolean, ...pages: Entry[][]): number[] {
  const [b16, b32] = big ? [be16, be32] : [le16, le32];
  let at = 8;
  const directories = pages.flatMap((entries, index) => {
    at += 2 + 12 * entries.length + 4;
    const written = entries.flatMap(([tag, type, value]) => [
      ...b16(tag),
      ...b16(type),
      ...b32(1),
      ...(type === 3 ? [...b16(value), 0, 0] : b32(value)),
    ]);
    return [...b16(entries.length), ...written, ...b32(index === pages.length - 1 ? 0 : at)];
  });
  return [...latin1(big ? 'MM\0*' : 'II*\0'), ...b32(8), ...directories];
}
const page = (width: number, height: number, type = 4): Entry[] => [
  [256, type, width],
  [257, type, height],
];

const psd = (width: number, height: number, version = 1) => [
  ...latin1('8BPS'),
  ...be16(version),
  ...zeros(6),
  ...be16(3),
  ...be32(height),
  ...be32(width),
  ...be16(8),
  ...be16(3),
];

const box = (name: string, ...body: number[][]) => {
  const all = body.flat();
  return [...be32(all.length + 8), ...latin1(name), ...all];
};
const ispe = (width: number, height: number) => box('ispe', be32(0), be32(width), be32(height));
const meta = (...properties: number[][]) =>
  box('meta', be32(0), box('hdlr', zeros(20)), box('iprp', box('ipco', ...properties)));
const ftyp = (brand: string) => box('ftyp', latin1(brand), be32(0), latin1('mif1'));
const track = (width: number, height: number, samples: number) => {
  const entry = [...be32(86), ...latin1('av01'), ...zeros(24), ...be16(width), ...be16(height), ...zeros(50)];
  const tables = [box('stsd', be32(0), be32(1), entry), box('stsz', be32(0), be32(9), be32(samples))];
  return box('moov', box('trak', box('mdia', box('minf', box('stbl', ...tables)))));
};

const exrBox = (name: string, width: number, height: number) => [
  ...latin1(`${name}\0box2i\0`),
  ...le32(16),
  ...[0, 0, width - 1, height - 1].flatMap(le32),
];
const exr = (flags: number, ...parts: number[][]) => [
  ...latin1('\x76\x2f\x31\x01'),
  2,
  flags,
  0,
  0,
  ...parts.flatMap((part) => [...part, 0]),
  0,
];
const radiance = (resolution: string) => latin1(`#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n${resolution}\nabc`);

const outcome = (bytes: number[] | Uint8Array, limits = LIMITS) => {
  const file = Uint8Array.from(bytes);
  const inspected = inspect(file, { size_bytes: file.length, name: undefined }, limits);
  return inspected.ok ? inspected.value.content_type : inspected.problem.code;
};

describe('an image with exactly max_image_pixels', () => {
  it.each([
    ['PNG', png(1000, 1000), 'image/png'],
    ['JPEG', jpeg(sof(1000, 1000)), 'image/jpeg'],
    ['JPEG-LS', jpeg(sof(1000, 1000, 0xf7)), 'image/jpeg'],
    ['JPEG behind metadata', jpeg(segment(0xe1, Array(60_000).fill(1)), sof(1000, 1000)), 'image/jpeg'],
    ['GIF', gif([1000, 1000], [0, 0, 1000, 1000]), 'image/gif'],
    ['lossless WebP', riff(vp8l(1000, 1000)), 'image/webp'],
    ['lossy WebP', riff(vp8(1000, 1000)), 'image/webp'],
    ['BMP', bmp(1000, -1000), 'image/bmp'],
    ['TIFF', tiff(false, page(1000, 1000, 3)), 'image/tiff'],
    ['PSD', psd(1000, 1000), 'image/vnd.adobe.photoshop'],
    ['AVIF', [...ftyp('avif'), ...meta(ispe(1000, 1000))], 'image/avif'],
    ['HEIC', [...ftyp('heic'), ...meta(ispe(1000, 1000))], 'image/heic'],
    ['EXR', exr(0, exrBox('dataWindow', 1000, 1000)), 'image/x-exr'],
    ['Radiance HDR', radiance('-Y 1000 +X 1000'), 'image/vnd.radiance'],
  ])('is accepted as a %s', (_what, bytes, type) => {
    expect(outcome(bytes)).toBe(type);
  });

  it.each(REAL_PICTURES)('is accepted as $what', ({ bytes, type, size, pictures }) => {
    const max_image_pixels = size.width * size.height;
    const limits = { ...LIMITS, max_image_pixels, max_animation_pixels: pictures * max_image_pixels };
    expect(outcome(bytes, limits)).toBe(type);
    expect(outcome(bytes, { ...limits, max_image_pixels: max_image_pixels - 1 })).toBe('image_too_large');
    const less = outcome(bytes, { ...limits, max_animation_pixels: pictures * max_image_pixels - 1 });
    expect(less).toBe(pictures > 1 ? 'image_too_large' : type);
  });
});

describe('an image with more than max_image_pixels', () => {
  it.each([
    ['a PNG', png(1001, 1000)],
    ['a PNG behind a PNG', [...png(1, 1), ...zeros(99), ...png(1001, 1000)]],
    ['a frame of an animated PNG outside of its canvas', png(1000, 1000, fcTL(1000, 1000), fcTL(1, 1000, 1000))],
    ['the second frame of a JPEG', jpeg(sof(1, 1), sof(1001, 1000))],
    ['a frame of a JPEG behind a scan', jpeg(sof(1, 1), SCAN, sof(1001, 1000, 0xc2))],
    ['a JPEG behind a JPEG', [...jpeg(sof(1, 1)), ...zeros(9), 0xff, 0xd8, 0xff, 1, ...jpeg(sof(1001, 1000))]],
    ['the screen of a GIF', gif([1001, 1000])],
    ['a frame of a GIF larger than its screen', gif([1, 1], [0, 0, 1001, 1000])],
    ['a frame of a GIF that begins outside of its screen', gif([1000, 1000], [1000, 0, 1, 1])],
    ['a wide and a high frame of a GIF', gif([1, 1], [0, 0, 1001, 1], [0, 0, 1, 1000])],
    ['a GIF without a screen', gif([0, 0], [0, 0, 1001, 1000])],
    ['the canvas of a WebP', riff(vp8x(1001, 1000), vp8(1, 1))],
    ['a lossless WebP larger than its canvas', riff(vp8x(1, 1), vp8l(1001, 1000))],
    ['a lossy WebP larger than its canvas', riff(vp8x(1, 1), webpChunk('ICCP', zeros(3)), vp8(1001, 1000))],
    ['a WebP behind the end that it states', [...riff(vp8x(1, 1)), ...vp8(1001, 1000)]],
    ['a WebP behind a WebP', [...riff(vp8(1, 1)), ...zeros(5), ...riff(vp8(1001, 1000))]],
    ['a frame of an animated WebP', riff(vp8x(1, 1), anmf(1001, 1000, vp8(1, 1)))],
    ['a picture in a frame of an animated WebP', riff(vp8x(1, 1), anmf(1, 1, vp8(1001, 1000)))],
    ['a BMP', bmp(1001, 1000)],
    ['a BMP with rows from the top', bmp(1001, -1000)],
    ['a TIFF', tiff(true, page(1001, 1000))],
    ['a TIFF of 16-bit sizes', tiff(true, page(1001, 1000, 3))],
    ['the second page of a TIFF', tiff(false, page(1, 1), page(1001, 1000))],
    ['the tile of a TIFF', tiff(false, [...page(1, 1), [322, 3, 1001], [323, 3, 1000]])],
    ['a TIFF that states its width twice', tiff(false, [...page(1, 1000), [256, 3, 1001]])],
    ['a PSD', psd(1001, 1000)],
    ['a PSB', psd(1001, 1000, 2)],
    ['an AVIF', [...ftyp('avif'), ...meta(ispe(1001, 1000))]],
    ['a HEIC', [...ftyp('heic'), ...meta(ispe(1001, 1000))]],
    ['a HEIC whose tiles are small', [...ftyp('heic'), ...meta(ispe(512, 512), ispe(1001, 1000))]],
    ['a HEIC with its description at the end', [...ftyp('heic'), ...box('mdat', zeros(99)), ...meta(ispe(1001, 1000))]],
    ['an AVIF that calls itself a video', [...ftyp('isom'), ...meta(ispe(1001, 1000))]],
    ['an animated AVIF', [...ftyp('avis'), ...track(1001, 1000, 1)]],
    ['the data window of an EXR', exr(0, exrBox('dataWindow', 1001, 1000))],
    ['the display window of an EXR', exr(0, [...exrBox('dataWindow', 1, 1), ...exrBox('displayWindow', 1001, 1000)])],
    ['the second part of an EXR', exr(0x10, exrBox('dataWindow', 1, 1), exrBox('dataWindow', 1001, 1000))],
    ['a Radiance HDR', radiance('-Y 1000 +X 1001')],
    ['a Radiance HDR of columns', radiance('+X 1001 -Y 1000')],
  ])('is rejected: %s', (_what, bytes) => {
    expect(outcome(bytes)).toBe('image_too_large');
  });

  it('is rejected with its size and the limit', () => {
    const bytes = Uint8Array.from(png(2000, 1000));
    expect(inspect(bytes, { size_bytes: bytes.length, name: undefined }, LIMITS)).toEqual({
      ok: false,
      problem: {
        code: 'image_too_large',
        detail: 'The image has 2000 × 1000 pixels; at most 1000000 are allowed.',
      },
    });
  });
});

describe('a file whose images together exceed max_animation_pixels', () => {
  it.each([
    ['an animated PNG', png(1000, 1000, ...Array.from({ length: 11 }, () => fcTL(1, 1)))],
    ['PNGs behind one another', repeat(11, png(1000, 1000))],
    ['JPEGs behind one another', repeat(11, jpeg(sof(1000, 1000)))],
    [
      'an animated GIF',
      gif([1000, 1000], ...Array.from({ length: 11 }, (): [number, number, number, number] => [0, 0, 1, 1])),
    ],
    ['an animated WebP', riff(vp8x(1000, 1000), ...Array.from({ length: 11 }, () => anmf(1, 1, vp8(1, 1))))],
    ['a TIFF of many pages', tiff(false, ...Array.from({ length: 11 }, () => page(1000, 1000)))],
    ['an animated AVIF', [...ftyp('avis'), ...track(1000, 1000, 11)]],
  ])('is rejected: %s', (_what, bytes) => {
    expect(outcome(bytes)).toBe('image_too_large');
  });

  it('is accepted with exactly max_animation_pixels', () => {
    expect(outcome(png(1000, 1000, ...Array.from({ length: 10 }, () => fcTL(1, 1))))).toBe('image/png');
    expect(outcome([...ftyp('avis'), ...track(1000, 1000, 10)])).toBe('image/avif');
  });
});

describe('an image that does not state its size', () => {
  it.each([
    ['a PNG that does not begin with its header', png(1, 1).with(12, 0)],
    ['a PNG without a width', png(0, 1000)],
    ['a PNG that ends early', png(1000, 1000).slice(0, 20)],
    ['a JPEG with a scan before a frame', [0xff, 0xd8, ...SCAN, ...sof(9, 9)]],
    ['a JPEG that states its height later', jpeg(sof(1000, 0))],
    ['a JPEG of metadata only', [0xff, 0xd8, ...segment(0xe1, Array(1000).fill(1))]],
    ['a GIF that ends early', gif([9, 9]).slice(0, 8)],
    ['a WebP of metadata only', riff(webpChunk('ICCP', zeros(20)))],
    ['a lossy WebP without its start code', riff(webpChunk('VP8 ', zeros(20)))],
    ['a TIFF without a directory', tiff(false, page(9, 9)).slice(0, 8)],
    ['a TIFF whose directory ends early', tiff(false, page(9, 9)).slice(0, 20)],
    ['a TIFF without a width', tiff(false, [[257, 3, 9]])],
    ['a PSD that ends early', psd(9, 9).slice(0, 20)],
    ['an AVIF without properties', [...ftyp('avif'), ...box('mdat', zeros(9))]],
    ['an EXR without a window', exr(0, latin1('a\0b\0').concat(le32(0)))],
    ['a Radiance HDR without a resolution', radiance('nothing')],
  ])('is rejected: %s', (_what, bytes) => {
    expect(outcome(bytes)).toBe('unsupported_media');
  });
});

describe('an audio file with an image after its tag', () => {
  const tag = [...latin1('ID3'), 4, 0, 0, 0, 0, 1, 2, ...zeros(130)];

  it('is rejected, because FFmpeg decodes the image', () => {
    expect(outcome([...tag, ...png(9, 9)])).toBe('unsupported_media');
  });

  it('is accepted with audio after its tag', () => {
    expect(outcome([...tag, 0xff, 0xfb, 0x90, 0x64, ...zeros(99)])).toBe('audio/mpeg');
    expect(outcome(tag)).toBe('audio/mpeg');
  });
});

describe('a video', () => {
  it('is accepted with frames of any size, because a decoder reads one frame at a time', () => {
    expect(outcome([...ftyp('isom'), ...track(9999, 9999, 99_999)])).toBe('video/mp4');
  });
});

describe('an image in storage', () => {
  const inStorage = async (bytes: number[], size_bytes = bytes.length) => {
    const file = Uint8Array.from(bytes);
    const asked: { offset: number; length: number }[] = [];
    const inspected = await inspectStored(
      file.subarray(0, 100),
      { size_bytes, name: undefined },
      LIMITS,
      (offset, length) => {
        asked.push({ offset, length });
        return Promise.resolve(file.subarray(offset, offset + length));
      },
    );
    return { code: inspected.ok ? inspected.value.content_type : inspected.problem.code, asked };
  };

  it('is rejected for an image at its end', async () => {
    expect((await inStorage([...png(1, 1), ...zeros(300_000), ...png(1001, 1000)])).code).toBe('image_too_large');
  });

  it('is read with few R2 calls', async () => {
    const { code, asked } = await inStorage([...png(1, 1), ...repeat(20, chunk('IDAT', zeros(100_000)))]);
    expect([code, asked.length < 12]).toEqual(['image/png', true]);
  });

  it('is rejected when it is too large to be read', async () => {
    expect(await inStorage(png(1, 1), MAX_READ_WHOLE_BYTES + 1)).toEqual({ code: 'image_too_large', asked: [] });
  });

  it('is rejected when its pages are in more than 500 separate places', async () => {
    const far = 1024 * 1024;
    const read = (offset: number): Promise<Uint8Array> =>
      Promise.resolve(
        Uint8Array.from(offset === 0 ? [...latin1('II*\0'), ...le32(far)] : [...le16(0), ...le32(offset + far)]),
      );
    const head = await read(0);
    const inspected = await inspectStored(head, { size_bytes: 4 * 1024 ** 3, name: undefined }, LIMITS, read);
    expect(inspected).toMatchObject({ ok: false, problem: { code: 'unsupported_media' } });
  });
});
