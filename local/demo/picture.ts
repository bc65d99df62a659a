import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const RGB_8_BIT = [8, 2, 0, 0, 0];

/** The demo's input as a PNG: a sun over hills, drawn here so that the repository holds no binary file. Sizes in pixels. */
export function drawPicture(width: number, height: number): Buffer<ArrayBuffer> {
  const row = 1 + width * 3;
  const pixels = Buffer.alloc(row * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      pixels.set(colorAt(x / width, y / height, width / height), y * row + 1 + x * 3);
    }
  }
  const size = Buffer.alloc(8);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  const header = Buffer.concat([size, Buffer.from(RGB_8_BIT)]);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(pixels)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** Color of a point; `u` and `v` run from 0 to 1, `aspect` is width over height. */
function colorAt(u: number, v: number, aspect: number): number[] {
  const near = 0.78 + 0.07 * Math.sin(u * 9 + 1);
  const far = 0.62 + 0.1 * Math.sin(u * 5 + 4);
  if (v > near) {
    return mix([24, 60, 52], [52, 110, 72], (1 - v) / (1 - near));
  }
  if (v > far) {
    return mix([44, 92, 96], [96, 140, 128], (near - v) / (near - far));
  }
  const distance = Math.hypot((u - 0.68) * aspect, v - 0.36);
  if (distance < 0.15) {
    return [255, 236, 190];
  }
  const sky = mix([255, 164, 96], [72, 84, 160], 1 - v / 0.75);
  return mix(sky, [255, 220, 150], Math.exp(-(distance - 0.15) * 7));
}

function mix(from: number[], to: number[], share: number): number[] {
  const part = Math.min(1, Math.max(0, share));
  return from.map((value, index) => Math.round(value + ((to[index] ?? value) - value) * part));
}

function chunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, checksum]);
}
