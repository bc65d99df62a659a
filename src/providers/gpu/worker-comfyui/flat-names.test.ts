import { expect, it } from 'vitest';
import { flatNames } from './flat-names.ts';

it('flat names are created in one pass for names of any length', () => {
  const long = `a/${'.'.repeat(900_000)}`;
  expect([...flatNames([long, `${long} [input]`]).values()].map((name) => name.length)).toEqual([900_002, 900_004]);
});

it('flat names are unique and contain no folder and no annotation', () => {
  const names = ['a.png', 'b/a.png', 'c/a.png [input]', 'b_a.png', 'c_a.png', 'd/notes', 'd_notes', 'a.b/c'];
  expect(Object.fromEntries(flatNames(names))).toEqual({
    'a.png': 'a.png',
    'b/a.png': 'b_a-2.png',
    'c/a.png [input]': 'c_a-2.png',
    'b_a.png': 'b_a.png',
    'c_a.png': 'c_a.png',
    'd/notes': 'd_notes-2',
    d_notes: 'd_notes',
    'a.b/c': 'a.b_c',
  });
});
