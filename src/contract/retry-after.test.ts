import { describe, expect, it } from 'vitest';
import { MAX_RETRY_AFTER_MS, readRetryAfter } from './retry-after.ts';

const NOW = 1_800_000_000_000;

describe('Retry-After', () => {
  it.each([
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7_000],
    ['86400', MAX_RETRY_AFTER_MS],
    ['86401', MAX_RETRY_AFTER_MS],
    ['9999999999', MAX_RETRY_AFTER_MS],
    ['99999999999', MAX_RETRY_AFTER_MS],
    ['9'.repeat(400), MAX_RETRY_AFTER_MS],
    [new Date(NOW + 90_000).toUTCString(), 90_000],
    [new Date(NOW - 90_000).toUTCString(), 0],
    [new Date(NOW + 10 * MAX_RETRY_AFTER_MS).toUTCString(), MAX_RETRY_AFTER_MS],
    ['', null],
    ['-1', null],
    ['1.5', null],
    ['soon', null],
    ['0x10', null],
    ['Sunday', null],
    [null, null],
  ])('%j means %j ms', (header, expected) => {
    expect(readRetryAfter(header, NOW)).toBe(expected);
  });
});
