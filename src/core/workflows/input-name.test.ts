import { describe, expect, it } from 'vitest';
import { inputNameFault, nameFaults } from './input-name.ts';

describe('the name of an input', () => {
  it.each([
    'photo.png',
    'pasted/image (1).png',
    'clipspace/clipspace-mask-1234.5.png [input]',
    'painter/painter-1.png [temp]',
    'x.png [output]',
    'sub\\deeper\\x.png',
    'a..b.png',
    'ünïcode 😀.png',
    '.hidden',
    'x'.repeat(255),
    'a [x].png',
  ])('may be %j', (name) => {
    expect(inputNameFault(name)).toBeNull();
  });

  it.each([
    '',
    'x'.repeat(256),
    'é'.repeat(128),
    '.',
    '..',
    '../x.png',
    'a/../b.png',
    'a/.. /b.png',
    'a\\..\\b.png',
    '/etc/passwd',
    '\\\\server\\x.png',
    'a//b.png',
    'a/',
    'a/ /b',
    'C:\\x.png',
    'c:x.png',
    '~/x.png',
    'a\0.png',
    'a\n.png',
    ' [input]',
    '[input]',
    'x.png[input]',
    'x.png [INPUT]',
    'x.png [input] [input]',
    '../x.png [input]',
  ])('may not be %j', (name) => {
    expect(inputNameFault(name)).not.toBeNull();
  });
});

describe('the names of a request', () => {
  const faults = (...names: string[]) => nameFaults(names).map(({ code, pointer }) => `${code} ${pointer}`);

  it('may be alike in different folders', () => {
    expect(faults('x.png', 'a/x.png', 'a/b/x.png', 'x.png [temp]')).toEqual([]);
  });

  it.each([
    ['x.png', 'x.png'],
    ['a/x.png', 'a\\x.png'],
    ['x.png', 'x.png [input]'],
  ])('may not lead to one file: %j and %j', (...names) => {
    expect(faults(...names)).toEqual(['duplicate_name #/inputs/1/name']);
  });

  it('may not be the folder of another', () => {
    expect(faults('a/b/x.png', 'a')).toEqual(['invalid_name #/inputs/0/name']);
    expect(faults('a', 'a/x.png [input]')).toEqual(['invalid_name #/inputs/1/name']);
  });
});
