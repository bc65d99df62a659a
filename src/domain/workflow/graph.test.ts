import { describe, expect, it } from 'vitest';
import { numberOf } from './graph.ts';

describe('numberOf', () => {
  it.each<[string, number]>([
    ['7', 7],
    ['-7', -7],
    [' +2_1 ', 21],
    ['1.5', 1.5],
    ['1.', 1],
    ['.5', 0.5],
    ['2.1e1', 21],
    ['1E-2', 0.01],
    [`${'0'.repeat(200)}7`, 7],
  ])('%j', (text, number) => {
    expect(numberOf(text)).toBe(number);
  });

  it.each(['', ' ', '.', 'e5', '1e', '1.5.2', '1 2', '0x10', 'NaN', 'Infinity', '7x', '1'.repeat(257)])(
    'returns null for %j',
    (text) => {
      expect(numberOf(text)).toBeNull();
    },
  );

  // By backtracking this took a millisecond times the square of the length in thousands: a quarter of an hour.
  it.each(['1'.repeat(1_000_000), `${' '.repeat(1_000_000)}1`, '_'.repeat(1_000_000)])(
    'rejects a megabyte of digits in one pass',
    (digits) => {
      expect(numberOf(`${digits}x`)).toBeNull();
    },
    2_000,
  );
});
