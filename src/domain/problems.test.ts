import { describe, expect, it } from 'vitest';
import { ValidationErrors } from './validation-errors.ts';
import { pointer, type Issue } from './problems.ts';

describe('a pointer', () => {
  it.each<[string, PropertyKey[], string]>([
    [
      'escapes the reserved characters of JSON pointers and URIs',
      ['a/b', 'c~d', 'e#f', 'é', 0],
      '#/a~1b/c~0d/e%23f/%C3%A9/0',
    ],
    ['is # for the whole body', [], '#'],
    ["contains a node's id of the greatest length", ['workflow', 'x'.repeat(256)], `#/workflow/${'x'.repeat(256)}`],
    ['ends before a name beyond MAX_TOKEN_CHARS', ['inputs', 'x'.repeat(257), 'y'], '#/inputs'],
    [
      'ends before it exceeds MAX_POINTER_CHARS',
      ['a', ...Array.from({ length: 9 }, () => 'x'.repeat(200))],
      `#/a${`/${'x'.repeat(200)}`.repeat(5)}`,
    ],
  ])('%s', (_title, path, text) => {
    expect(pointer(path)).toBe(text);
  });
});

describe('ValidationErrors', () => {
  const issue = (code: Issue['code']): Issue => ({ pointer: '#', code, detail: 'wrong' });

  it('does not create issues that it only counts', () => {
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

  it('adds the count of an appended list, including unlisted issues', () => {
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

  it('has the code and the detail of a single issue, and is null without issues', () => {
    const issues = new ValidationErrors();
    expect(issues.problem()).toBeNull();
    issues.addAll([issue('required')]);
    expect(issues.problem()).toEqual({ code: 'required', detail: 'wrong', errors: [issue('required')] });
  });
});
