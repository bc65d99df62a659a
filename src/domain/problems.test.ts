import { describe, expect, it } from 'vitest';
import { ValidationErrors } from './validation-errors.ts';
import { pointer, type Issue } from './problems.ts';

describe('a pointer', () => {
  it.each<[string, PropertyKey[], string]>([
    ['escapes what JSON pointers and URIs reserve', ['a/b', 'c~d', 'e#f', 'é', 0], '#/a~1b/c~0d/e%23f/%C3%A9/0'],
    ['stands for the whole body without a way', [], '#'],
    [
      'names a node by an id of any length that one may have',
      ['workflow', 'x'.repeat(256)],
      `#/workflow/${'x'.repeat(256)}`,
    ],
    ['ends before a name that is longer', ['inputs', 'x'.repeat(257), 'y'], '#/inputs'],
    [
      'ends where it would be too long',
      ['a', ...Array.from({ length: 9 }, () => 'x'.repeat(200))],
      `#/a${`/${'x'.repeat(200)}`.repeat(5)}`,
    ],
  ])('%s', (_title, path, text) => {
    expect(pointer(path)).toBe(text);
  });
});

describe('a list of faults', () => {
  const issue = (code: Issue['code']): Issue => ({ pointer: '#', code, detail: 'wrong' });

  it('makes neither place nor words of what it only counts', () => {
    const issues = new ValidationErrors();
    let made = 0;
    for (let at = 0; at < 500_000; at += 1) {
      issues.add('unsafe_input', () => ((made += 1), { pointer: '#', detail: 'wrong' }));
    }
    expect(made).toBe(100);
    expect(issues.problem()).toMatchObject({
      code: 'unsafe_input',
      detail: 'The request has 500000 issues; the first 100 are listed.',
      errors: { length: 100 },
    });
  });

  it('appended to another counts there, whether listed or not', () => {
    const [one, other] = [new ValidationErrors(), new ValidationErrors()];
    one.addAll(Array.from({ length: 90 }, () => issue('unsafe_input')));
    other.addAll([...Array.from({ length: 100 }, () => issue('unsafe_input')), issue('dangling_link')]);
    one.append(other);
    expect(one.listed).toHaveLength(100);
    expect(one.problem()).toMatchObject({
      code: 'invalid_request',
      detail: 'The request has 191 issues; the first 100 are listed.',
    });
  });

  it('of one fault says what that says; an empty one is no problem', () => {
    const issues = new ValidationErrors();
    expect(issues.problem()).toBeNull();
    issues.addAll([issue('required')]);
    expect(issues.problem()).toEqual({ code: 'required', detail: 'wrong', errors: [issue('required')] });
  });
});
