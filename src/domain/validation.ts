import type { z } from 'zod';
import { MAX_LISTED_FAULTS, pointer, quote, type Fault, type FaultCode } from './problems.ts';

type Issue = z.core.$ZodIssue;

/** zod's findings in the words of the API. The list is never empty: a failed parse has at least one issue. */
export function faultsOf(error: z.ZodError, base: readonly PropertyKey[] = []): [Fault, ...Fault[]] {
  // One more than is listed tells that there are more; a list in a body may have half a million entries that are wrong.
  const [first, ...rest] = error.issues.slice(0, MAX_LISTED_FAULTS + 1).flatMap((issue) => faults(issue, base));
  return first === undefined
    ? [{ pointer: pointer(base), code: 'invalid_value', detail: 'is not valid' }]
    : [first, ...rest];
}

function faults(issue: Issue, base: readonly PropertyKey[]): Fault[] {
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    // A body may hold any number of unknown fields; the answer lists a few (`MAX_LISTED_FAULTS`).
    return issue.keys.slice(0, MAX_LISTED_FAULTS + 1).map((key) => ({
      pointer: pointer([...path, key]),
      code: 'unknown_field',
      detail: `${quote(key)} is not a field here`,
    }));
  }
  const missing = issue.code === 'invalid_type' && issue.input === undefined && issue.message.endsWith('undefined');
  return [
    {
      pointer: pointer(path),
      code: missing ? 'required' : codeOf(issue),
      detail: missing ? `${place(path)} is required` : `${place(path)}: ${issue.message}`,
    },
  ];
}

const place = (path: readonly PropertyKey[]): string =>
  path.length === 0 ? 'the body' : quote(path.map((name) => String(name).slice(0, MAX_NAME_CHARS)).join('.'));

/** A name's part in a detail; the whole is cut once more. */
const MAX_NAME_CHARS = 100;

function codeOf(issue: Issue): FaultCode {
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
