import type { Quota } from '../contract/admission.ts';
import type { JobView } from '../contract/job.ts';

/**
 * What the core may refuse, in words every door understands. A door turns a code into its protocol's error.
 * Meaning of every code: docs/reference/errors.md.
 */

/** Codes of a single fault in a request, each with a place in the body. */
export const FAULT_CODES = [
  'required',
  'invalid_type',
  'invalid_value',
  'out_of_range',
  'unknown_field',
  'invalid_name',
  'duplicate_name',
  'request_format',
  'workflow_format_ui',
  'workflow_empty',
  'workflow_too_large',
  'invalid_node',
  'dangling_link',
  'dependency_cycle',
  'unknown_node',
  'node_missing',
  'override_not_found',
  'override_ambiguous',
  'variable_missing',
  'variable_unused',
  'limit_exceeded',
  'node_not_allowed',
  'unsafe_input',
  'unknown_endpoint',
  'unknown_asset',
  'unknown_output',
  'input_url_refused',
  'input_fetch_failed',
  'invalid_base64',
  'unsupported_media',
  'image_too_large',
  'empty_file',
  'storage_full',
  'file_too_large',
  'url_not_allowed',
  'run_too_large',
] as const;
export type FaultCode = (typeof FAULT_CODES)[number];

/** Codes that stand for a request as a whole. */
export const CORE_CODES = [
  'invalid_json',
  'incomplete_body',
  'invalid_request',
  'not_found',
  'unauthorized',
  'insufficient_scope',
  'endpoint_not_allowed',
  'exceeds_key',
  'too_many_keys',
  'key_revoked',
  'invalid_cursor',
  'invalid_idempotency_key',
  'idempotency_key_reuse',
  'idempotency_in_flight',
  'rate_limited',
  'queue_full',
  'budget_exceeded',
  'too_many_webhooks',
  'webhook_disabled',
  'job_not_over',
  'endpoint_unavailable',
  'no_worker_report',
  'job_failed',
  'job_canceled',
  'job_expired',
  'internal',
  'unavailable',
  'asset_in_use',
  'too_many_watchers',
  'upload_incomplete',
  'hash_mismatch',
  'too_many_uploads',
] as const;

export type CoreCode = FaultCode | (typeof CORE_CODES)[number];

/**
 * One fault in a body. `pointer` is a JSON pointer in URI fragment form (RFC 6901 section 6):
 * `#/workflow/3/inputs/image`.
 */
export type Fault = { pointer: string; code: FaultCode; detail: string };

/** Why the core refused. `detail` is for people: no input is quoted in it beyond short names, and no internals. */
export type CoreProblem = {
  code: CoreCode;
  detail: string;
  errors?: Fault[];
  retryAfterS?: number;
  /** Whether the same request may succeed later: for clients that would guess it from the status otherwise. */
  shouldRetry?: boolean;
  /** Names of the policies that are used up. */
  violated?: string[];
  /** What is left, where the refusal knows. */
  quota?: Quota;
  /** The job that has no result, and why. */
  job?: Pick<JobView, 'id' | 'status' | 'error'>;
};

/** Faults beyond this many are counted, not listed, so that an answer stays small. */
export const MAX_LISTED_FAULTS = 100;

/**
 * All faults of a request as one problem. Faults of one kind give the problem their own code;
 * several kinds together are an `invalid_request`.
 */
export function invalidRequest(faults: [Fault, ...Fault[]]): CoreProblem {
  const [first] = faults;
  const alike = faults.every((fault) => fault.code === first.code);
  return faultProblem(first, faults.slice(0, MAX_LISTED_FAULTS), faults.length, alike);
}

/** The same of faults that were counted (`FaultList`). `first` is the first of those listed. */
export function faultProblem(first: Fault, listed: Fault[], count: number, alike: boolean): CoreProblem {
  const more = count > listed.length ? `; the first ${listed.length} are listed` : '';
  const detail = count === 1 ? first.detail : `the request has ${count} faults${more}`;
  return { code: alike ? first.code : 'invalid_request', detail, errors: listed };
}

/** The one answer for what does not exist and for what belongs to somebody else; the two must not differ. */
export const notFound: CoreProblem = { code: 'not_found', detail: 'no such resource' };

/** The longest name in a pointer; a node's id has as many characters at most. */
const MAX_TOKEN_CHARS = 256;
/** The longest pointer: with those of a hundred faults an answer stays small. */
const MAX_POINTER_CHARS = 1024;

/**
 * JSON pointer to a place in the body, as a URI fragment. A name may be as long as the body: one that is too long to be
 * repeated ends the pointer before it, at the value that holds the name.
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
