import { inflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { drawPicture } from './picture.ts';

test('drawPicture returns a PNG of the given size with every pixel', () => {
  const png = drawPicture(60, 40);
  expect(png.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
  expect(png.readUInt32BE(16)).toBe(60);
  expect(png.readUInt32BE(20)).toBe(40);
  const data = png.indexOf('IDAT');
  const pixels = inflateSync(png.subarray(data + 4, data + 4 + png.readUInt32BE(data - 4)));
  expect(pixels).toHaveLength(40 * (1 + 60 * 3));
  expect(new Set(pixels).size).toBeGreaterThan(50);
});
