import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemRandom } from '../../lib/ids.ts';
import keysPage from '../../../docs/guides/keys.md?raw';
import { containsKey, hashKey, isKey, KEY, makeKey, redactKeys } from './format.ts';

describe('an API key', () => {
  it('has the form that scanners look for', () => {
    expect(makeKey('live', systemRandom)).toMatch(/^ce_live_[0-9A-Za-z]{38}$/);
    expect(makeKey('test', systemRandom)).toMatch(/^ce_test_[0-9A-Za-z]{38}$/);
  });

  it('matches the published expression for secret scanners', () => {
    const [, published = ''] = /```\n(ce_.*)\n```/.exec(keysPage) ?? [];
    expect(`^${published}$`).toBe(KEY.source);
    const key = makeKey('live', systemRandom);
    expect(new RegExp(published).exec(`KEY="${key}"`)?.[0]).toBe(key);
  });

  it('ends in the CRC-32 of the other characters', () => {
    // CRC-32 of "ce_test_" and 32 zeros, in base62, computed with zlib.
    expect(makeKey('test', (count) => new Uint8Array(count))).toBe(`ce_test_${'0'.repeat(32)}35t9ix`);
  });

  it('is invalid when one character differs', () => {
    const key = makeKey('test', systemRandom);
    expect(isKey(key)).toBe(true);
    const change = fc.tuple(fc.nat({ max: key.length - 1 }), fc.string({ minLength: 1, maxLength: 1 }));
    fc.assert(
      fc.property(change, ([at, char]) => {
        fc.pre(key[at] !== char);
        expect(isKey(key.slice(0, at) + char + key.slice(at + 1))).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('skips random bytes that would make some characters more frequent', () => {
    const biased = new Uint8Array(32).fill(255);
    biased[31] = 5;
    expect(makeKey('test', () => biased)).toContain('5'.repeat(32));
  });

  it('is hashed with SHA-256', async () => {
    expect(await hashKey('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('is found and redacted at any place in a text', () => {
    const key = makeKey('live', systemRandom);
    expect(containsKey(`/v1/jobs/${key}?x`)).toBe(true);
    expect(containsKey('/v1/jobs/ce_line')).toBe(false);
    expect(redactKeys(`/v1/${key}/${key.slice(0, 20)}`)).toBe('/v1/ce_live_[redacted]/ce_live_[redacted]');
  });
});
