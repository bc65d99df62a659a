import { describe, expect, it } from 'vitest';
import cases from '../../../test/fixtures/file-names.json' with { type: 'json' };
import { inputNameIssue, nameIssues } from './input-name.ts';

describe('the name of an input', () => {
  it.each(cases.valid_names)('may be %j', (name) => {
    expect(inputNameIssue(name)).toBeNull();
  });

  it.each(cases.invalid_names)('may not be %j', (name) => {
    expect(inputNameIssue(name)).not.toBeNull();
  });
});

describe("the names of a request's inputs", () => {
  const issues = (...names: string[]) => nameIssues(names).map(({ code, pointer }) => `${code} ${pointer}`);

  it('may be equal in different folders', () => {
    expect(issues('x.png', 'a/x.png', 'a/b/x.png', 'x.png [temp]')).toEqual([]);
  });

  it.each([
    ['x.png', 'x.png'],
    ['a/x.png', 'a\\x.png'],
    ['x.png', 'x.png [input]'],
  ])('may not lead to the same file: %j and %j', (...names) => {
    expect(issues(...names)).toEqual(['duplicate_name #/inputs/1/name']);
  });

  it('may not equal the folder of another input', () => {
    expect(issues('a/b/x.png', 'a')).toEqual(['invalid_name #/inputs/0/name']);
    expect(issues('a', 'a/x.png [input]')).toEqual(['invalid_name #/inputs/1/name']);
  });
});
