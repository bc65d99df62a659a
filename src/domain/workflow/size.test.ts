import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { isLargerThan } from './size.ts';

it('isLargerThan never exceeds the real size', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(isLargerThan(new TextEncoder().encode(JSON.stringify(value)).length, value)).toBe(false);
    }),
  );
});

it('isLargerThan detects a text of more than six times the limit', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const size = JSON.stringify(value).length;
      expect(isLargerThan(Math.floor(size / 6) - 1, value)).toBe(true);
    }),
  );
});

it('isLargerThan counts a repeated text each time without writing it', () => {
  const places = Array.from({ length: 100_000 }, () => 'x'.repeat(1_000_000));
  expect(isLargerThan(2_000_000, places)).toBe(true);
});

it('isLargerThan counts integers beyond 2^53', () => {
  expect(isLargerThan(19, [2n ** 64n - 1n])).toBe(true);
  expect(isLargerThan(22, [2n ** 64n - 1n])).toBe(false);
});
