import type { z } from 'zod';
import type { IssueCode } from '../contract/errors.ts';
import { invalidRequest, MAX_LISTED_ISSUES, pointer, quote, type Issue, type Problem } from './problems.ts';
import { fail, ok, type Result } from './result.ts';

type ZodIssue = z.core.$ZodIssue;

/** zod's findings in the words of the API. The list is never empty: a failed parse has at least one issue. */
export function issuesOf(error: z.ZodError, base: readonly PropertyKey[] = []): [Issue, ...Issue[]] {
  // One more than is listed tells that there are more; a list in a body may have half a million entries that are wrong.
  const [first, ...rest] = error.issues.slice(0, MAX_LISTED_ISSUES + 1).flatMap((issue) => fromZod(issue, base));
  return first === undefined
    ? [{ pointer: pointer(base), code: 'invalid_value', detail: 'The value is invalid.' }]
    : [first, ...rest];
}

/**
 * Parses a body with a schema and reports all issues together.
 * @param contentIssues issues that the schema cannot find; they come after its own
 */
export function parseBody<T extends z.ZodType>(
  schema: T,
  body: unknown,
  contentIssues: readonly Issue[] = [],
): Result<z.infer<T>, Problem> {
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    return fail(invalidRequest([...issuesOf(parsed.error), ...contentIssues]));
  }
  const [first, ...rest] = contentIssues;
  return first === undefined ? ok(parsed.data) : fail(invalidRequest([first, ...rest]));
}

function fromZod(issue: ZodIssue, base: readonly PropertyKey[]): Issue[] {
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    // A body may hold any number of unknown fields; the answer lists a few (`MAX_LISTED_ISSUES`).
    return issue.keys.slice(0, MAX_LISTED_ISSUES + 1).map((key) => ({
      pointer: pointer([...path, key]),
      code: 'unknown_field',
      detail: `Unknown field ${quote(key)}.`,
    }));
  }
  return [
    {
      pointer: pointer(path),
      code: isMissing(issue) ? 'required' : codeOf(issue),
      detail: `${place(path)} ${isMissing(issue) ? 'is required' : ruleOf(issue)}.`,
    },
  ];
}

const place = (path: readonly PropertyKey[]): string =>
  path.length === 0 ? 'The body' : quote(path.map((name) => String(name).slice(0, MAX_NAME_CHARS)).join('.'));

/** A name's part in a detail; the whole is cut once more. */
const MAX_NAME_CHARS = 100;

const isMissing = (issue: ZodIssue): boolean =>
  issue.code === 'invalid_type' && issue.input === undefined && issue.message.endsWith('undefined');

/** What an issue says of a value, as the rest of a sentence: `must be a string`. */
export function ruleOf(issue: ZodIssue): string {
  // The messages of our own schemas are such rests; zod's own are sentences.
  if (/^[a-z]/.test(issue.message)) {
    return issue.message;
  }
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${TYPES[issue.expected] ?? `of type ${issue.expected}`}`;
    case 'too_big':
      return bound('at most', issue.inclusive === false ? 'less than' : null, issue.maximum, issue.origin);
    case 'too_small':
      return bound('at least', issue.inclusive === false ? 'greater than' : null, issue.minimum, issue.origin);
    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map((each) => quote(String(each))).join(', ')}`;
    case 'invalid_format':
      return 'has an invalid format';
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues[0] === undefined ? 'is invalid' : ruleOf(issue.issues[0]);
    default:
      return 'is invalid';
  }
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  bigint: 'an integer',
  boolean: 'a boolean',
  object: 'an object',
  record: 'an object',
  array: 'an array',
  tuple: 'an array',
  null: 'null',
};

const UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' entries', record: ' entries' };

function bound(inclusive: string, exclusive: string | null, limit: number | bigint, origin: string): string {
  const unit = UNITS[origin];
  return unit === undefined ? `must be ${exclusive ?? inclusive} ${limit}` : `must have ${inclusive} ${limit}${unit}`;
}

function codeOf(issue: ZodIssue): IssueCode {
  switch (issue.code) {
    case 'invalid_type':
      return 'invalid_type';
    case 'too_big':
    case 'too_small':
      return 'out_of_range';
    case 'unrecognized_keys':
      return 'unknown_field';
    default:
      return 'invalid_value';
  }
}
