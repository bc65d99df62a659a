import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonText, parseJson } from './json.ts';

const parsed = (text: string): unknown => {
  const result = parseJson(text);
  return result.ok ? result.value : result.problem.errors?.map(({ pointer, code }) => `${code} ${pointer}`);
};

describe('an integer in JSON', () => {
  it("keeps every digit in the range of a node's input", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (integer) => {
        const text = `{"a":[${integer}]}`;
        expect(jsonText(parsed(text))).toBe(text);
      }),
    );
  });

  it('is a number when a number represents it exactly', () => {
    expect(parsed('[9007199254740991, 9007199254740992]')).toEqual([9007199254740991, 9007199254740992n]);
  });

  it.each(['18446744073709551616', '-9223372036854775809', '1'.repeat(5000)])(
    "is rejected outside the range of a node's input: %.30s…",
    (integer) => {
      expect(parsed(`{"a": {"b/c": ${integer}}}`)).toEqual(['out_of_range #/a/b~1c']);
    },
  );

  it('is a number when it has a fraction or an exponent', () => {
    expect(parsed('[12345678901234567890.5, 1e300]')).toEqual([Number('12345678901234567890.5'), 1e300]);
  });

  it('is unchanged in a string', () => {
    expect(parsed('["18446744073709551615"]')).toEqual(['18446744073709551615']);
  });
});

it('parseJson and jsonText agree with JSON.parse and JSON.stringify', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5, noUnicodeString: false }), (text) => {
      fc.pre(!text.includes('__proto__'));
      const result = parseJson(text);
      fc.pre(result.ok);
      expect(jsonText(result.ok ? result.value : null)).toBe(JSON.stringify(JSON.parse(text)));
    }),
  );
});
