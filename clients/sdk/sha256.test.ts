import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Sha256 } from './sha256.ts';

const expected = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('the hash is that of the platform, however the content is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }), (pieces) => {
      const hash = new Sha256();
      for (const piece of pieces) {
        hash.add(piece);
      }
      expect(hash.hex()).toBe(expected(Buffer.concat(pieces)));
    }),
  );
});

test('every length around a block is padded right', () => {
  for (let length = 0; length <= 130; length += 1) {
    const bytes = new Uint8Array(length).fill(length);
    const hash = new Sha256();
    hash.add(bytes);
    expect(hash.hex()).toBe(expected(bytes));
  }
});
