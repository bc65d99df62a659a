import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { REAL_PICTURES } from '../../../testing/pictures.ts';
import { PICTURE_TYPES, sniff } from '../sniff.ts';
import { measure, PICTURES } from './measure.ts';
import { Tally } from './tally.ts';
import { Cursor, parseBeginning } from './file-cursor.ts';

const NO_LIMITS = { picture: Infinity, file: Infinity };
const LIMITS = { picture: 178_956_970, file: 1_000_000_000 };

type Counted = Pick<Tally, 'largest' | 'pictures' | 'pixels'>;
const countOf = ({ largest, pictures, pixels }: Tally): Counted => ({ largest, pictures, pixels });

/** Counts the images of a file in memory. */
function count(bytes: Uint8Array, type: string): Counted {
  const tally = new Tally(NO_LIMITS);
  const parser = PICTURES.get(type)?.(new Cursor(bytes.length), tally);
  expect(parser === undefined ? 'no walk' : parseBeginning(parser, bytes)).toBe(undefined);
  return countOf(tally);
}

/** The same, from a source that returns only the requested bytes. */
function countPiecemeal(bytes: Uint8Array, type: string): Counted {
  const tally = new Tally(NO_LIMITS);
  const parser = PICTURES.get(type)?.(new Cursor(bytes.length), tally);
  if (parser !== undefined) {
    for (let step = parser.next(); step.done !== true;) {
      const { offset, length } = step.value;
      step = parser.next(bytes.slice(offset, offset + length));
    }
  }
  return countOf(tally);
}

describe('counting the pixels of an image', () => {
  it.each(REAL_PICTURES)(
    'counts $pictures of $size.width × $size.height in $what',
    ({ type, bytes, pictures, size }) => {
      expect(sniff(bytes.subarray(0, 4096), bytes.length)).toBe(type);
      expect(count(bytes, type)).toEqual({ largest: size, pictures, pixels: size.width * size.height * pictures });
    },
  );

  it.each(REAL_PICTURES)('counts the same in $what for the smallest reads', ({ type, bytes }) => {
    expect(countPiecemeal(bytes, type)).toEqual(count(bytes, type));
  });

  it('covers every image type of sniff', () => {
    expect([...PICTURE_TYPES].toSorted()).toEqual([...PICTURES.keys()].toSorted());
  });

  it('finds no size in an unknown image type', () => {
    const parser = measure('image/jxl', 9, LIMITS);
    expect(parser === null ? 'no walk' : parseBeginning(parser, new Uint8Array(9))).toEqual({ problem: 'no_size' });
  });

  it('returns without an exception for any bytes', () => {
    const beginnings = REAL_PICTURES.map(({ type, bytes }) => ({ type, bytes }));
    fc.assert(
      fc.property(
        fc.constantFrom(...beginnings),
        fc.nat({ max: 400 }),
        fc.uint8Array({ maxLength: 400 }),
        ({ type, bytes }, kept, rest) => {
          const file = new Uint8Array([...bytes.subarray(0, kept), ...rest]);
          const parser = measure(type, file.length, LIMITS);
          expect(parser === null ? 'no walk' : parseBeginning(parser, file)).not.toBe('unfinished');
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('a file that is made to keep a parser busy', () => {
  const SIZE = 8 * 1024 * 1024;
  const repeated = (...units: number[]): Uint8Array => {
    const all = new Uint8Array(SIZE);
    for (let at = 0; at < SIZE; at += 1) {
      all[at] = units[at % units.length] ?? 0;
    }
    return all;
  };
  const latin1 = (text: string): number[] => [...text].map((char) => char.charCodeAt(0));
  const after = (beginning: string, rest: Uint8Array): Uint8Array => {
    rest.set(latin1(beginning));
    return rest;
  };

  it.each([
    ['image/jpeg', 'starts of pictures', repeated(0xff, 0xd8, 0xff)],
    ['image/jpeg', 'fill bytes', after('\xff\xd8', repeated(0xff))],
    [
      'image/jpeg',
      'stuffed zeros',
      after('\xff\xd8\xff\xc0\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0\xff\xda\0\x02', repeated(0xff, 0)),
    ],
    ['image/png', 'signatures', repeated(...latin1('\x89PNG\r\n\x1a\n'))],
    ['image/png', 'empty chunks', after('\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01', repeated(0))],
    ['image/gif', 'bytes that do not start a block', after('GIF89a\x01\0\x01\0\0\0\0', repeated(7))],
    ['image/gif', 'blocks of one byte', after('GIF89a\x01\0\x01\0\0\0\0!\xfe', repeated(1))],
    ['image/webp', 'beginnings', repeated(...latin1('RIFF'))],
    ['image/webp', 'empty chunks', after('RIFF\xff\xff\xff\0WEBP', repeated(...latin1('ABCD'), 0, 0, 0, 0))],
    ['image/tiff', 'directories in one another', after('MM\0*\0\0\0\x08', repeated(0xff, 0xff, 0, 0))],
    ['image/avif', 'empty boxes', after('\0\0\0\x10ftypavif\0\0\0\0\0\x7f\xff\xf0meta', repeated(0, 0, 0, 8))],
    [
      'image/x-exr',
      'attributes without a value',
      after('\x76\x2f\x31\x01\x02\x10\0\0', repeated(97, 0, 97, 0, 0, 0, 0, 0)),
    ],
  ])('is measured in bounded time: %s with only %s', (type, _what, bytes) => {
    const parser = measure(type, bytes.length, LIMITS);
    expect(parser === null ? 'no walk' : parseBeginning(parser, bytes)).not.toBe('unfinished');
  });
});
