import { z, type RouteConfig } from '@hono/zod-openapi';
import { REFUSAL_EXAMPLE } from './examples.ts';
import { headerRefs, type ResponseHeader } from './response-headers.ts';
import type { RefusalStatus, Route } from './route.ts';
import { problemSchema } from './schemas.ts';

/**
 * A route as an operation of the OpenAPI document. It adds what holds for every route: who may call it, how it refuses,
 * and the headers of its responses. A test holds every response of every test against the document.
 */
export function operationOf(route: Route): RouteConfig {
  const { method, path, operationId, summary, description, access, deprecated, responses, refusals = [] } = route;
  const common = commonHeaders(route);
  const refused = [...refusalsByForm(route), ...refusals];
  return {
    method,
    path,
    operationId,
    summary,
    ...(description === undefined ? {} : { description }),
    tags: [tagOf(path)],
    security: securityOf(access),
    ...(deprecated === undefined ? {} : { deprecated: true }),
    request: requestOf(route),
    responses: {
      ...Object.fromEntries(
        Object.entries(responses).map(([status, { headers = [], ...response }]) => [
          status,
          { ...response, headers: headerRefs([...common, ...headers]) },
        ]),
      ),
      ...Object.fromEntries(refused.map((status) => [status, refusal(status, common)])),
    },
  };
}

/** Groups of the document, by the first part of a path. */
export const TAGS = {
  jobs: 'Submit, watch, cancel and erase jobs, and fetch their outputs',
  assets: 'Input files',
  uploads: 'Input files of any size, in parts',
  keys: 'API keys',
  webhooks: 'Events sent to your own server',
  accounts: 'Limits of an account',
  usage: 'What jobs used and cost',
  endpoints: 'Where jobs can run, and the state of each',
  metrics: 'Metrics for the operator',
  audit: 'Who changed what',
} as const;

const tagOf = (path: string): string => path.split('/')[1] ?? '';

/** What each status of a refusal means; the body's `code` says more. */
const REFUSALS: Readonly<Record<RefusalStatus, string>> = {
  400: 'The request is malformed',
  401: 'Missing or invalid API key',
  402: 'The daily budget is exhausted',
  403: 'The key is not allowed to do this',
  404: 'The resource does not exist, or belongs to another account',
  409: 'The state of the resource does not allow this yet',
  410: 'The job ended without a result',
  412: 'A precondition failed',
  413: 'The body is too large',
  415: 'Unsupported Content-Type',
  416: 'The range cannot be served',
  422: 'The request is invalid; `errors` lists the issues',
  429: 'Over a limit; `violated-policies` names it',
  500: 'Internal server error',
  503: 'Temporarily unavailable',
  504: 'No answer in time',
};

/** A refusal with this status, as a response of the document. */
const refusal = (status: RefusalStatus, common: readonly ResponseHeader[]) => ({
  description: REFUSALS[status],
  headers: headerRefs([...common, ...refusalHeaders(status)]),
  content: {
    'application/problem+json': { schema: problemSchema, ...(status === 422 ? { example: REFUSAL_EXAMPLE } : {}) },
  },
});

function refusalHeaders(status: RefusalStatus): ResponseHeader[] {
  switch (status) {
    case 401:
    case 403:
      return ['WWW-Authenticate'];
    case 416:
      return ['Content-Range'];
    case 402:
    case 409:
    case 429:
    case 503:
    case 504:
      return ['Retry-After', 'X-Should-Retry'];
    default:
      return [];
  }
}

/** Headers of every response of a route. A response to the operator, or without a key, has no limits to report. */
const commonHeaders = ({ access, deprecated }: Route): ResponseHeader[] => [
  'X-Request-Id',
  ...(access === 'open' ? [] : (['RateLimit-Policy', 'RateLimit'] as const)),
  ...(deprecated === undefined ? [] : (['Deprecation', 'Sunset', 'Link'] as const)),
];

/** The refusals that follow from a route's form: a key may be invalid, a body too large, a path may lead nowhere. */
function refusalsByForm({ method, access, params, query, body }: Route): RefusalStatus[] {
  return [
    // A GET may come with an unknown parameter (query.ts).
    ...(method !== 'get' && query === undefined && body === undefined ? [] : [400 as const]),
    401,
    ...(access === 'open' ? [] : [403 as const]),
    ...(params === undefined ? [] : [404 as const]),
    ...(body === undefined ? [] : [413 as const, 415 as const, 422 as const]),
    429,
    500,
    503,
  ];
}

function requestOf({ params, query, headers, body }: Route): NonNullable<RouteConfig['request']> {
  return {
    ...(params === undefined ? {} : { params }),
    ...(query === undefined ? {} : { query: query instanceof z.ZodObject ? query : query.schema }),
    ...(headers === undefined ? {} : { headers }),
    ...(body === undefined
      ? {}
      : body.kind === 'json'
        ? {
            body: {
              ...(body.optional === true ? {} : { required: true }),
              content: { 'application/json': { schema: body.schema, example: body.example } },
            },
          }
        : { body: { required: true, content: body.content } }),
  };
}

/** Who may call a route: any one of these. The scope stands where OpenAPI 3.1 has the roles of a scheme. */
function securityOf(access: Route['access']): Record<string, string[]>[] {
  if (access === 'open') {
    return [];
  }
  const { scope, operator, readToken } = access;
  return [
    { key: [scope] },
    ...(operator === true ? [{ admin: [] }] : []),
    ...(readToken === undefined ? [] : [{ readToken: [] }]),
    ...(readToken === 'query' ? [{ readTokenInQuery: [] }] : []),
  ];
}
