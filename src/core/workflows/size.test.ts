import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { isLargerThan } from './size.ts';

it('calls nothing too large that is not', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(isLargerThan(new TextEncoder().encode(JSON.stringify(value)).length, value)).toBe(false);
    }),
  );
});

it('leaves no text that is many times as long', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const size = JSON.stringify(value).length;
      expect(isLargerThan(Math.floor(size / 6) - 1, value)).toBe(true);
    }),
  );
});

it('counts what stands in many places as often as it would be written, and does not write it', () => {
  const places = Array.from({ length: 100_000 }, () => 'x'.repeat(1_000_000));
  expect(isLargerThan(2_000_000, places)).toBe(true);
});

it('counts long integers, which JSON.stringify alone would not write', () => {
  expect(isLargerThan(19, [2n ** 64n - 1n])).toBe(true);
  expect(isLargerThan(22, [2n ** 64n - 1n])).toBe(false);
});
