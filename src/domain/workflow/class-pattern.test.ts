import { expect, it } from 'vitest';
import cases from '../../../test/fixtures/class-patterns.json';
import { coversPattern, matchesClass } from './class-pattern.ts';

it.each(cases)('$pattern for $name: $matches', ({ pattern, name, matches }) => {
  expect(matchesClass(pattern, name)).toBe(matches);
});

it.each<[string, string, boolean]>([
  ['Load*', 'Load*', true],
  ['Load*', 'LoadImage*', true],
  ['Load*', 'LoadLora', true],
  ['LoadImage*', 'Load*', false],
  ['*', '*?', true],
  ['*a*', 'b*ab?', true],
  ['Load?', 'Load*', false],
  ['Load?', 'Load?', true],
  ['Load?', 'LoadX', true],
  ['LoadX', 'Load?', false],
  ['L*d', 'L*', false],
  ['a?', 'a*b', false],
  ['[ab]', 'a', false],
])('%s covers %s: %s', (outer, inner, expected) => {
  expect(coversPattern(outer, inner)).toBe(expected);
});

it('coversPattern accepts only patterns whose names all match', () => {
  const alphabet = ['a', 'b', '*', '?', ''];
  const patterns = alphabet.flatMap((x) => alphabet.flatMap((y) => alphabet.map((z) => x + y + z)));
  const names = ['a', 'b', ''].flatMap((x) =>
    ['a', 'b', ''].flatMap((y) => ['a', 'b', ''].flatMap((z) => ['a', ''].map((w) => x + y + z + w))),
  );
  const wrong = patterns.flatMap((outer) =>
    patterns
      .filter((inner) => coversPattern(outer, inner))
      .filter((inner) => names.some((name) => matchesClass(inner, name) && !matchesClass(outer, name)))
      .map((inner) => [outer, inner]),
  );
  expect(wrong).toEqual([]);
});

it('matchesClass takes bounded time for a pattern that almost matches', () => {
  expect(matchesClass(`${'*a'.repeat(40)}b`, 'a'.repeat(300))).toBe(false);
});
