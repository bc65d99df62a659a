import { describe, expect, it } from 'vitest';
import cases from '../../testing/file-names.json' with { type: 'json' };
import { inputNameFault, nameFaults } from './input-name.ts';

describe('the name of an input', () => {
  it.each(cases.valid_names)('may be %j', (name) => {
    expect(inputNameFault(name)).toBeNull();
  });

  it.each(cases.invalid_names)('may not be %j', (name) => {
    expect(inputNameFault(name)).not.toBeNull();
  });
});

describe("the names of a request's inputs", () => {
  const faults = (...names: string[]) => nameFaults(names).map(({ code, pointer }) => `${code} ${pointer}`);

  it('may be equal in different folders', () => {
    expect(faults('x.png', 'a/x.png', 'a/b/x.png', 'x.png [temp]')).toEqual([]);
  });

  it.each([
    ['x.png', 'x.png'],
    ['a/x.png', 'a\\x.png'],
    ['x.png', 'x.png [input]'],
  ])('may not lead to the same file: %j and %j', (...names) => {
    expect(faults(...names)).toEqual(['duplicate_name #/inputs/1/name']);
  });

  it('may not equal the folder of another input', () => {
    expect(faults('a/b/x.png', 'a')).toEqual(['invalid_name #/inputs/0/name']);
    expect(faults('a', 'a/x.png [input]')).toEqual(['invalid_name #/inputs/1/name']);
  });
});
