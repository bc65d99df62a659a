import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_OUTPUT_NAME_BYTES, outputName } from '../../contract/job.ts';
import { assetKey, catalogKey, outputKey, outputPrefix, uploadPartKey } from './keys.ts';

const ACCOUNT = 'a'.repeat(63);
const JOB = '0192f0c1-0000-7000-8000-000000000000';
const R2_KEY_BYTES = 1_024;

/** Names that a worker can choose, with characters that have a meaning in URLs. */
const segment = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
  fc.string({ unit: fc.constantFrom(..."~%7E+ !'()*#?&=;:@$,[]äß漢😀.%".split('')), minLength: 1, maxLength: 40 }),
);
const name = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .map((segments) => segments.join('/'))
  .filter((text) => outputName.safeParse(text).success);

describe('the key of an output', () => {
  it('is different for different names', () => {
    fc.assert(
      fc.property(name, name, (left, right) => {
        expect(outputKey(ACCOUNT, JOB, 1, left) === outputKey(ACCOUNT, JOB, 1, right)).toBe(left === right);
      }),
      { numRuns: 2_000 },
    );
    for (const [left, right] of [
      ['a b', 'a%20b'],
      ['a~20b', 'a b'],
      ['a/b', 'a~2Fb'],
      ['~', '~7E'],
      ['é', 'e\u0301'],
      ['A.png', 'a.png'],
    ] as const) {
      expect(outputKey(ACCOUNT, JOB, 1, left)).not.toBe(outputKey(ACCOUNT, JOB, 1, right));
    }
  });

  it("contains only URL-safe characters, and is within R2's limit", () => {
    fc.assert(
      fc.property(name, (each) => {
        const key = outputKey(ACCOUNT, JOB, 99, each);
        expect(key).toMatch(/^[A-Za-z0-9._~/-]+$/);
        expect(new TextEncoder().encode(key).byteLength).toBeLessThanOrEqual(R2_KEY_BYTES);
        expect(new URL(`https://r2.test/${key}`).pathname).toBe(`/${key}`);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(['x', '漢', '😀', '~', ' '])("is within R2's limit for the longest name of %j", (char) => {
    const bytes = new TextEncoder().encode(char).byteLength;
    const longest = char.repeat(Math.floor(MAX_OUTPUT_NAME_BYTES / bytes));
    expect(outputName.safeParse(longest).success).toBe(true);
    expect(outputKey(ACCOUNT, JOB, 99, longest).length).toBeLessThanOrEqual(R2_KEY_BYTES);
    expect(outputName.safeParse(char.repeat(MAX_OUTPUT_NAME_BYTES + 1)).success).toBe(false);
  });

  it('starts with the prefix of its job, which no other job or account has', () => {
    expect(outputKey('a', JOB, 1, 'x.png')).toBe(`outputs/a/${JOB}/1/x.png`);
    expect(outputKey('a', JOB, 1, 'x.png').startsWith(outputPrefix('a', JOB))).toBe(true);
    expect(outputKey('ab', JOB, 1, 'x.png').startsWith(outputPrefix('a', JOB))).toBe(false);
    expect(outputKey('a', JOB, 12, 'x.png')).not.toBe(outputKey('a', JOB, 1, '2/x.png'));
  });
});

describe('the name of an output', () => {
  it.each(['', '/a', 'a/', 'a//b', '.', '..', 'a/../b', './a', 'a\\b', 'a\u0000', 'a\nb', '\ud800', 'x'.repeat(256)])(
    'cannot be %j',
    (bad) => {
      expect(outputName.safeParse(bad).success).toBe(false);
    },
  );

  it.each(['a', '...', '.hidden', 'a..b', 'temp/a b.png', '~', '漢字/é.png'])('can be %j', (good) => {
    expect(outputName.safeParse(good).success).toBe(true);
  });
});

it('every kind of object has its own key prefix', () => {
  const keys = [assetKey('a', 'b'), uploadPartKey('a', 'b', 1), catalogKey('a'), outputKey('a', 'b', 1, 'c')];
  expect(new Set(keys.map((key) => key.split('/')[0])).size).toBe(keys.length);
});
