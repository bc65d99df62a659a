import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeSyntaxIssue, findSyntaxIssue } from './json-syntax.ts';

const described = (text: string): string | null => {
  const issue = findSyntaxIssue(text);
  return issue === null ? null : describeSyntaxIssue(issue);
};

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe('finding a syntax error in JSON', () => {
  it.each([
    ['{"a":\n  [1, NaN]}', 'Line 2, column 7, in #/a/1: NaN is not JSON; write a number or null.'],
    ['{"a":-Infinity}', 'Line 1, column 6, in #/a: -Infinity is not JSON; write a number or null.'],
    ['{"a":undefined}', 'Line 1, column 6, in #/a: undefined is not JSON; write null.'],
    ['{"a":True}', 'Line 1, column 6, in #/a: True is not JSON; write true.'],
    ['{"a":None}', 'Line 1, column 6, in #/a: None is not JSON; write null.'],
    ['{"a":truely}', 'Line 1, column 6, in #/a: "truely" is not JSON; write texts and names in double quotes.'],
    ['{"a":[1,\r\n2,\r\n]}', 'Line 2, column 2, in #/a: A comma before "]" is not JSON; remove it.'],
    ['{"a":1,}', 'Line 1, column 7: A comma before "}" is not JSON; remove it.'],
    ['{"a":1,,}', 'Line 1, column 8: "," stands where a name in double quotes is expected.'],
    ['{\r// note\r"a":1}', 'Line 2, column 1: A comment is not JSON; remove it.'],
    ['{"a":1 /* one */}', 'Line 1, column 8: A comment is not JSON; remove it.'],
    ['# note\n{}', 'Line 1, column 1: A comment is not JSON; remove it.'],
    ["{'a':1}", 'Line 1, column 2: "\'" is not a quote in JSON; write texts and names in double quotes.'],
    ['{“a”:1}', 'Line 1, column 2: "“" is not a quote in JSON; write texts and names in double quotes.'],
    ['{a:1}', 'Line 1, column 2: "a" is not JSON; write texts and names in double quotes.'],
    ['{"a" 1}', 'Line 1, column 6, in #/a: "1" stands where a colon is expected.'],
    ['{"a":1 "b":2}', 'Line 1, column 8: "\\"" stands where a comma or "}" is expected.'],
    ['[1 2]', 'Line 1, column 4: "2" stands where a comma or "]" is expected.'],
    ['[1}', 'Line 1, column 3: "}" stands where a comma or "]" is expected.'],
    [
      '{"a":ce_live_0a1b2c}',
      'Line 1, column 6, in #/a: A word without quotes is not JSON; write texts and names in double quotes.',
    ],
    ['[12.34.56.78.90.12.34]', 'Line 1, column 2, in #/0: This is not a number in JSON.'],
    ['{} x', 'Line 1, column 4: "x" stands where the end of the body is expected.'],
    ['{"😀":"😀" x}', 'Line 1, column 10: "x" stands where a comma or "}" is expected.'],
    ['{"a":{"b":"text', 'Line 1, column 11, in #/a/b: The text that begins here does not end.'],
    ['{"a":"one\ntwo"}', 'Line 1, column 10, in #/a: A line break inside a text is not JSON; escape it.'],
    ['["\t"]', 'Line 1, column 3, in #/0: The control character "\\t" inside a text is not JSON; escape it.'],
    ['["C:\\models"]', 'Line 1, column 5, in #/0: "\\\\m" is not an escape in JSON; write a backslash as "\\\\".'],
    ['{"a": {', 'Line 1, column 8, in #/a: The body ends inside the object that begins at line 1, column 7.'],
    ['\n[1,', 'Line 2, column 4: The body ends inside the list that begins at line 2, column 1.'],
    ['{"a":', 'Line 1, column 6, in #/a: The body ends where a value is expected.'],
    ['', 'Line 1, column 1: The body is empty.'],
    [' \n', 'Line 2, column 1: The body is empty.'],
    ...['01', '1.', '.5', '+1', '0x1F', '1e', '1_000', '-', '--1', '1.2.3'].map((number) => [
      `[${number}]`,
      `Line 1, column 2, in #/0: "${number}" is not a number in JSON.`,
    ]),
    ['workflow=%7B%7D', 'Line 1, column 1: "workflow" is not JSON; write texts and names in double quotes.'],
    ['<html>', 'Line 1, column 1: "<" stands where a value is expected.'],
  ])('describes the place and the reason in %j', (text, expected) => {
    expect(described(text)).toBe(expected);
  });

  it('finds an error if and only if JSON.parse throws', () => {
    const tokens = [
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      'u00e4',
      'true',
      'null',
      'NaN',
      '0',
      '-',
      '1',
      '.',
      'e',
    ];
    const token = fc.constantFrom(...tokens, '+', ' ', '\n', '\u0000', '\u2028', "'", '//');
    const broken = fc
      .tuple(fc.json({ maxDepth: 3 }), token, fc.nat(), fc.nat({ max: 3 }))
      .map(
        ([text, put, at, cut]) =>
          text.slice(0, at % (text.length + 1)) + put + text.slice((at % (text.length + 1)) + cut),
      );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          broken,
          fc.array(token, { maxLength: 12 }).map((all) => all.join('')),
        ),
        (text) => {
          expect({ text, found: findSyntaxIssue(text) !== null }).toEqual({ text, found: !parses(text) });
        },
      ),
      { numRuns: 5000 },
    );
  });

  it('checks a text of 30 million characters', () => {
    const text = `{"data":"${'A'.repeat(30_000_000)}",}`;
    expect(described(text)).toBe('Line 1, column 30000011: A comma before "}" is not JSON; remove it.');
  });
});
