import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { CoreCode, CoreProblem, Fault } from '../../domain/problems.ts';

/**
 * The error envelope of v1 and of every answer outside the doors: `application/problem+json` (RFC 9457).
 * The list of codes is closed; docs/reference/errors.md says what each means.
 */
export const PROBLEMS = {
  // HTTP
  invalid_json: { status: 400, title: 'The body is not JSON' },
  invalid_multipart: { status: 400, title: 'The body is no form with one file' },
  incomplete_body: { status: 400, title: 'The body ended early' },
  invalid_parameter: { status: 400, title: 'A parameter is not valid' },
  invalid_cursor: { status: 400, title: 'The cursor is not valid' },
  invalid_idempotency_key: { status: 400, title: 'The Idempotency-Key is not valid' },
  unauthorized: { status: 401, title: 'No valid API key' },
  insufficient_scope: { status: 403, title: 'The key lacks a scope' },
  admin_token_not_accepted: { status: 403, title: 'ADMIN_TOKEN is not accepted on this route' },
  ip_not_allowed: { status: 403, title: 'The key may not be used from this address' },
  endpoint_not_allowed: { status: 403, title: 'The key may not use this endpoint' },
  exceeds_key: { status: 403, title: 'A key gives no more than it has' },
  budget_exceeded: { status: 402, title: 'The budget of the day is used up' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  idempotency_in_flight: { status: 409, title: 'The first request with this key is still being worked on' },
  asset_in_use: { status: 409, title: 'An unfinished job reads the asset' },
  upload_incomplete: { status: 409, title: 'Parts of the upload are missing' },
  job_not_over: { status: 409, title: 'The job is not over' },
  job_failed: { status: 410, title: 'The job failed: it has no result' },
  job_canceled: { status: 410, title: 'The job was canceled: it has no result' },
  job_expired: { status: 410, title: 'The job expired: it has no result' },
  precondition_failed: { status: 412, title: 'A precondition of the request does not hold' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'This Content-Type is not taken here' },
  invalid_range: { status: 416, title: 'The range cannot be served' },
  rate_limited: { status: 429, title: 'Too many requests' },
  too_many_watchers: { status: 429, title: 'Too many clients watch this job' },
  queue_full: { status: 429, title: 'Too many unfinished jobs' },
  internal: { status: 500, title: 'A fault of the gateway' },
  misconfigured: { status: 503, title: 'The gateway is not configured' },
  database_outdated: { status: 503, title: 'The database lacks a migration' },
  no_worker_report: { status: 504, title: 'No worker gave a report' },
  endpoint_unavailable: { status: 503, title: 'The endpoint takes no jobs for now' },
  unavailable: { status: 503, title: 'Not available at the moment' },
  // Bodies
  idempotency_key_reuse: { status: 422, title: 'The Idempotency-Key belongs to another request' },
  invalid_request: { status: 422, title: 'The request has faults' },
  required: { status: 422, title: 'A field is missing' },
  invalid_type: { status: 422, title: 'A field has the wrong type' },
  invalid_value: { status: 422, title: 'A field has a value that is not allowed' },
  out_of_range: { status: 422, title: 'A value is out of range' },
  unknown_field: { status: 422, title: 'A field is not known' },
  invalid_name: { status: 422, title: 'A file name is not allowed' },
  duplicate_name: { status: 422, title: 'Two inputs have the same name' },
  request_format: { status: 422, title: 'The body is in the format of another API' },
  workflow_format_ui: { status: 422, title: 'The workflow is in the format of the editor' },
  workflow_empty: { status: 422, title: 'The workflow has no node' },
  workflow_too_large: { status: 413, title: 'The workflow is too large' },
  invalid_node: { status: 422, title: 'A node is malformed' },
  dangling_link: { status: 422, title: 'A link leads nowhere' },
  dependency_cycle: { status: 422, title: 'The workflow has a cycle' },
  node_missing: { status: 422, title: 'A named node is not in the workflow' },
  override_not_found: { status: 422, title: 'Nothing in the workflow takes an override' },
  override_ambiguous: { status: 422, title: 'An override fits more than one place' },
  variable_missing: { status: 422, title: 'A placeholder has no variable' },
  variable_unused: { status: 422, title: 'A variable has no placeholder' },
  limit_exceeded: { status: 422, title: 'The workflow asks for more than the endpoint gives' },
  node_not_allowed: { status: 422, title: 'A node class may not be used' },
  unsafe_input: { status: 422, title: 'A node reaches beyond the job' },
  unknown_node: { status: 422, title: 'A node class is not known' },
  unknown_endpoint: { status: 422, title: 'The endpoint is not known' },
  unknown_asset: { status: 422, title: 'The asset is not known' },
  unknown_output: { status: 422, title: 'The output is not known' },
  input_url_refused: { status: 422, title: 'A URL may not be fetched' },
  input_fetch_failed: { status: 422, title: 'A file could not be fetched' },
  invalid_base64: { status: 422, title: 'The data is not base64' },
  unsupported_media: { status: 422, title: 'The content is no kind of file a workflow could use' },
  image_too_large: { status: 422, title: 'The picture has too many pixels' },
  empty_file: { status: 400, title: 'The file is empty' },
  file_too_large: { status: 413, title: 'The file is too large' },
  run_too_large: { status: 413, title: 'The job is too large for the endpoint' },
  url_not_allowed: { status: 422, title: 'The gateway does not call this URL' },
  hash_mismatch: { status: 422, title: 'The file has another hash' },
  storage_full: { status: 422, title: 'The account has no room for the file' },
  too_many_uploads: { status: 422, title: 'The account has as many uploads under way as it may' },
  too_many_keys: { status: 422, title: 'The account has as many keys as it may' },
  key_revoked: { status: 422, title: 'The key is revoked' },
  too_many_webhooks: { status: 422, title: 'The account has as many webhooks as it may' },
  webhook_disabled: { status: 422, title: 'The webhook is turned off' },
} as const satisfies Record<string, { status: ContentfulStatusCode; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;
/** What a code stands for, the same in every answer. */
export const describeProblem = (code: ProblemCode): { status: number; title: string } => PROBLEMS[code];

const isCode = (name: string): name is ProblemCode => Object.hasOwn(PROBLEMS, name);
export const PROBLEM_CODES: ProblemCode[] = Object.keys(PROBLEMS).filter(isCode);

/** Every refusal of the core has its place in the table. */
type Uncovered = Exclude<CoreCode, ProblemCode>;
const coversTheCore: Uncovered extends never ? true : never = true;
void coversTheCore;

/** What a problem says beyond its code. `detail` is for people; `errors` are the places in a body. */
export type ProblemOptions = {
  detail: string;
  errors?: Fault[] | undefined;
  violated?: string[] | undefined;
  job?: CoreProblem['job'] | undefined;
  /** Where to ask now and then for what cannot be streamed. */
  poll?: string | undefined;
  headers?: Record<string, string> | undefined;
};

/** Problems that have a name of their own at IANA (draft-ietf-httpapi-ratelimit-headers). */
const IANA = 'https://iana.org/assignments/http-problem-types';
const QUOTA_EXCEEDED = `${IANA}#quota-exceeded`;
export const TYPES: Partial<Record<string, string>> = {
  rate_limited: QUOTA_EXCEEDED,
  queue_full: QUOTA_EXCEEDED,
  endpoint_unavailable: `${IANA}#temporary-reduced-capacity`,
};

/** RFC 9457 section 3. */
export const PROBLEM_TYPE = 'application/problem+json';

/** `WWW-Authenticate` of every 401 (RFC 9110 section 11.6.1). */
export const CHALLENGE = { 'www-authenticate': 'Bearer realm="comfy-edge"' };

/** A problem without an answer around it. The request's id goes in, so that a report can be traced. */
export function problemBody(c: Context, code: ProblemCode, options: Omit<ProblemOptions, 'headers'>) {
  const { status, title } = PROBLEMS[code];
  const { detail, errors, violated, job, poll } = options;
  return {
    type: TYPES[code] ?? `${publicUrlOf(c)}/problems/${code}`,
    title,
    status,
    detail,
    code,
    request_id: String(c.get('requestId')),
    ...(errors === undefined ? {} : { errors }),
    ...(violated === undefined ? {} : { 'violated-policies': violated }),
    ...(job === undefined ? {} : { job }),
    ...(poll === undefined ? {} : { poll }),
  };
}

/** The status of a refusal with this code. */
export const statusOf = (code: ProblemCode): number => PROBLEMS[code].status;

/** A problem as an answer. */
export function problem(c: Context, code: ProblemCode, options: ProblemOptions): Response {
  const challenge = code === 'unauthorized' ? CHALLENGE : {};
  const headers = { ...challenge, ...options.headers, 'content-type': PROBLEM_TYPE };
  return c.body(JSON.stringify(problemBody(c, code, options)), PROBLEMS[code].status, headers);
}

/** A refusal by the core, or one that only HTTP knows. */
export type Refusal = Omit<CoreProblem, 'code'> & { code: ProblemCode };

/** A refusal as an answer. */
export function coreProblem(c: Context, refusal: Refusal): Response {
  const { code, detail, errors, retryAfterS, shouldRetry, violated, quota, job } = refusal;
  if (quota !== undefined) {
    c.set('quota', quota);
  }
  const headers = {
    ...(retryAfterS === undefined ? {} : { 'retry-after': String(retryAfterS) }),
    ...(shouldRetry === undefined ? {} : { 'x-should-retry': String(shouldRetry) }),
  };
  return problem(c, code, { detail, errors, violated, job, headers });
}

/** Empty while the configuration is not known: a problem's type is then relative to the gateway. */
function publicUrlOf(c: Context): string {
  const core: unknown = c.get('core');
  return isConfigured(core) ? core.config.publicUrl : '';
}

const isConfigured = (core: unknown): core is { config: { publicUrl: string } } =>
  typeof core === 'object' && core !== null && 'config' in core;
