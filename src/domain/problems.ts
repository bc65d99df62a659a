import type { Quota } from '../contract/admission.ts';
import type { ErrorCode, IssueCode } from '../contract/errors.ts';
import type { JobView } from '../contract/job.ts';

/**
 * One issue of a body. `pointer` is a JSON pointer in URI fragment form (RFC 6901 section 6):
 * `#/workflow/3/inputs/image`.
 */
export type Issue = { pointer: string; code: IssueCode; detail: string };

/**
 * Why a request is refused, in words that every protocol understands. `detail` is for people: it quotes only short
 * names of the input, and no internals.
 */
export type Problem = {
  code: ErrorCode;
  detail: string;
  errors?: Issue[];
  retryAfterS?: number;
  /** Names of the policies that are used up. */
  violated?: string[];
  /** What is left, where the refusal knows. */
  quota?: Quota;
  /** The job that has no result, and why. */
  job?: Pick<JobView, 'id' | 'status' | 'error'>;
};

/** Issues beyond this number are counted, not listed, so that a response stays small. */
export const MAX_LISTED_ISSUES = 100;

/**
 * All issues of a request as one problem. Issues with one code give the problem that code;
 * different codes together are an `invalid_request`.
 */
export function invalidRequest(issues: [Issue, ...Issue[]]): Problem {
  const [first] = issues;
  const alike = issues.every((issue) => issue.code === first.code);
  return problemOfIssues(first, issues.slice(0, MAX_LISTED_ISSUES), issues.length, alike);
}

/** The same of issues that were counted (`ValidationErrors`). `first` is the first of those listed. */
export function problemOfIssues(first: Issue, listed: Issue[], count: number, alike: boolean): Problem {
  const more = count > listed.length ? `; the first ${listed.length} are listed` : '';
  const detail = count === 1 ? first.detail : `The request has ${count} issues${more}.`;
  return { code: alike ? first.code : 'invalid_request', detail, errors: listed };
}

/** The one answer for what does not exist and for what belongs to somebody else; the two must not differ. */
export const notFound: Problem = { code: 'not_found', detail: 'The resource does not exist.' };

/** The longest name in a pointer, which is also the longest id of a node. */
const MAX_TOKEN_CHARS = 256;
/** The longest pointer. A response with a hundred of them is still small. */
const MAX_POINTER_CHARS = 1024;

/**
 * Returns a JSON pointer into the body, as a URI fragment. A name can be as long as the body, so the pointer ends
 * before a name that is too long to repeat.
 */
export function pointer(path: readonly PropertyKey[]): string {
  let text = '#';
  for (const part of path) {
    const token = String(part);
    const longer = token.length > MAX_TOKEN_CHARS ? null : `${text}/${escapeToken(token)}`;
    if (longer === null || longer.length > MAX_POINTER_CHARS) {
      return text;
    }
    text = longer;
  }
  return text;
}

const escapeToken = (token: string): string =>
  encodeURI(token.toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1')).replaceAll('#', '%23');

/** Text of the caller's, short enough to quote in a detail. */
export const quote = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
