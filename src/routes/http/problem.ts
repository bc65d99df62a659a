import type { Context } from 'hono';
import { errorOf, isRetryable, type ErrorCode, type ErrorStatus } from '../../contract/errors.ts';
import type { Problem } from '../../domain/problems.ts';

/**
 * The error envelope of v1 and of every response outside of the other protocols: `application/problem+json` (RFC 9457).
 * Codes, statuses and titles are in `contract/errors.ts`.
 */

/** What a problem says beyond its code. `detail` is for people; `errors` name the places in the body. */
export type ProblemOptions = Omit<Problem, 'code' | 'retryAfterS' | 'quota'> & {
  /** The URL to poll instead of a stream. */
  poll?: string | undefined;
  headers?: Record<string, string> | undefined;
};

const IANA = 'https://iana.org/assignments/http-problem-types';

/** `type` of a problem: its page at the gateway, or its name at IANA. */
export function typeOf(code: ErrorCode, publicUrl: string): string {
  const { iana } = errorOf(code);
  return iana === undefined ? `${publicUrl}/problems/${code}` : `${IANA}#${iana}`;
}

/** RFC 9457 section 3. */
export const PROBLEM_TYPE = 'application/problem+json';

/** `WWW-Authenticate` of every 401 (RFC 9110 section 11.6.1). */
export const CHALLENGE = { 'www-authenticate': 'Bearer realm="comfy-edge"' };

/** Statuses from which a client cannot tell whether a retry helps: `X-Should-Retry` says it. */
const SAYS_RETRY: ReadonlySet<ErrorStatus> = new Set([402, 409, 429, 503, 504]);

/** The body of a problem. It has the id of the request, so that a report can be found in the log. */
export function problemBody(c: Context, code: ErrorCode, options: Omit<ProblemOptions, 'headers'>) {
  const { status, title } = errorOf(code);
  const { detail, errors, violated, job, poll } = options;
  return {
    type: typeOf(code, publicUrlOf(c)),
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

/** A problem as a response. */
export function problem(c: Context, code: ErrorCode, options: ProblemOptions): Response {
  const { status } = errorOf(code);
  const headers = {
    ...(code === 'unauthorized' ? CHALLENGE : {}),
    ...(SAYS_RETRY.has(status) ? { 'x-should-retry': String(isRetryable(code)) } : {}),
    ...options.headers,
    'content-type': PROBLEM_TYPE,
  };
  return c.body(JSON.stringify(problemBody(c, code, options)), status, headers);
}

/** The problem of a service as a response. */
export function problemResponse(c: Context, { code, retryAfterS, quota, ...options }: Problem): Response {
  if (quota !== undefined) {
    c.set('quota', quota);
  }
  return problem(c, code, {
    ...options,
    headers: retryAfterS === undefined ? {} : { 'retry-after': String(retryAfterS) },
  });
}

/** Empty while the configuration is not known: the problem's type is then relative to the gateway. */
function publicUrlOf(c: Context): string {
  const context: unknown = c.get('context');
  return isConfigured(context) ? context.config.publicUrl : '';
}

const isConfigured = (context: unknown): context is { config: { publicUrl: string } } =>
  typeof context === 'object' && context !== null && 'config' in context;
