import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseWorkerJson } from './worker-json.ts';

it.each<[string, unknown]>([
  [String.raw`"caf\udce9.png"`, 'caf\ufffd.png'],
  [String.raw`{"\uD83D": ["\uD83D\uDE00", "\ude00\ud83d"]}`, { '\ufffd': ['\u{1f600}', '\ufffd\ufffd'] }],
  [String.raw`"\\ud83d \\\ud83d \n\u00e9"`, '\\ud83d \\\ufffd \n\u00e9'],
  [String.raw`"\ud83d\ud83d\ude00"`, '\ufffd\u{1f600}'],
  [String.raw`"\ud83dx\ude00"`, '\ufffdx\ufffd'],
])('has U+FFFD for each half of a pair: %s', (text, expected) => {
  expect(parseWorkerJson(text)).toEqual(expected);
});

it('gives what JSON.parse gives, made well-formed', () => {
  const halves = fc.string({ unit: fc.constantFrom('a', '\\', '"', 'u', '\ud83d', '\ude00', '\u{1f600}', 'dce9') });
  fc.assert(
    fc.property(halves, (text) => {
      expect(parseWorkerJson(JSON.stringify(text))).toBe(text.toWellFormed());
    }),
  );
});
