import type { RouteConfig } from '@hono/zod-openapi';
import { EXAMPLES, REFUSED } from './examples.ts';
import { ROUTE_ACCESS, type RouteAccess } from './route-access.ts';
import { problemSchema } from './schemas.ts';

/**
 * What the OpenAPI document says of every route without its saying so: who may call it, the problems it may answer, and the headers
 * of its answers. A test holds every answer of every test against it.
 */

/** Headers that answers of v1 have, beside those every HTTP answer has. They are components of the document. */
export const ANSWER_HEADERS = {
  'X-Request-Id': {
    description: 'Of this request; the client’s own, where it sent one',
    schema: { type: 'string' },
    required: true,
  },
  'RateLimit-Policy': {
    description: 'The limits that hold for this key (draft-ietf-httpapi-ratelimit-headers)',
    schema: { type: 'string' },
  },
  RateLimit: { description: 'What is left of them', schema: { type: 'string' } },
  'Retry-After': {
    description: 'Seconds after which it is worth trying again',
    schema: { type: 'integer', minimum: 0 },
  },
  'X-Should-Retry': {
    description: 'Whether the same request may succeed later',
    schema: { type: 'string', pattern: '^(?:true|false)$' },
  },
  'WWW-Authenticate': { description: 'What to send instead (RFC 9110 section 11.6.1)', schema: { type: 'string' } },
  Deprecation: {
    description: 'Since when the route is deprecated (RFC 9745): "@" and seconds since the epoch',
    schema: { type: 'string', pattern: '^@\\d+$' },
  },
  Sunset: { description: 'When the route ends (RFC 8594)', schema: { type: 'string' } },
  Link: {
    description: 'What to use instead (`successor-version`), and where that is described',
    schema: { type: 'string' },
  },
  Location: { description: 'Where what was made is found', schema: { type: 'string', format: 'uri' } },
  'Idempotent-Replayed': {
    description: 'The answer is that of an earlier request with this Idempotency-Key',
    schema: { type: 'string', const: 'true' },
  },
  'Preference-Applied': { description: 'What of Prefer was done', schema: { type: 'string' } },
  ETag: { description: 'Of this version; send it back as If-None-Match', schema: { type: 'string' } },
  'Last-Modified': { description: 'When this version was made', schema: { type: 'string' } },
  'Accept-Ranges': { description: 'Parts can be asked for with Range', schema: { type: 'string', const: 'bytes' } },
  'Content-Range': { description: 'Which part this is, or how long the whole is', schema: { type: 'string' } },
  'Content-Disposition': { description: 'The file’s name', schema: { type: 'string' } },
} as const;

export type AnswerHeader = keyof typeof ANSWER_HEADERS;

export const headerRefs = (...names: AnswerHeader[]): Record<string, { $ref: string }> =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

/** What each status of a refusal stands for here; the body's `code` says more. */
const REFUSALS = {
  400: 'The request cannot be understood',
  401: 'No valid key',
  402: 'The budget of the day is used up',
  403: 'The key may not do this',
  404: 'There is no such thing, or it is another account’s',
  409: 'Not now: something else has to happen first',
  410: 'It is over, and there will be nothing',
  412: 'A precondition does not hold',
  413: 'Too large',
  415: 'This Content-Type is not taken here',
  416: 'The range cannot be served',
  422: 'The request has faults; `errors` lists them',
  429: 'Over a limit; `violated-policies` names it',
  500: 'A fault of the gateway',
  502: 'What the gateway needs for this did not answer properly',
  503: 'Not available at the moment',
  504: 'What the gateway asked did not answer in time',
} as const;

export type Refusal = keyof typeof REFUSALS;

/** A problem with this status, as an answer of a route. */
const refusal = (status: Refusal, access: RouteAccess) => ({
  description: REFUSALS[status],
  headers: headerRefs(...commonHeaders(access), ...refusalHeaders(status)),
  content: {
    'application/problem+json': { schema: problemSchema, ...(status === 422 ? { example: REFUSED } : {}) },
  },
});

/** Groups of the document, by the first part of a path. */
export const TAGS = {
  jobs: 'Submit, follow, cancel and erase jobs, and fetch what they made',
  assets: 'Input files',
  uploads: 'Input files of any size, in parts',
  keys: 'API keys',
  webhooks: 'Events sent to your own server',
  accounts: 'Limits',
  usage: 'What jobs used and cost',
  endpoints: 'Where jobs can run, and how that goes',
  metrics: 'What the operator watches',
  audit: 'Who changed what',
} as const;

/** A path of a group that is not described yet has the group of its name. */
const tagOf = (path: string): string => path.split('/')[1] ?? '';

/** What a route takes, with the example of its body where there is one. */
function withBodyExample({ operationId = '', request }: RouteConfig): Pick<RouteConfig, 'request'> {
  const json = request?.body?.content['application/json'];
  const example = EXAMPLES[operationId]?.request;
  return request?.body === undefined || json === undefined || example === undefined
    ? {}
    : {
        request: {
          ...request,
          body: { ...request.body, content: { ...request.body.content, 'application/json': { ...json, example } } },
        },
      };
}

/** The same for an answer. */
function withExample(route: RouteConfig, status: string, response: ResponseConfig): ResponseConfig {
  const json = response.content?.['application/json'];
  const example = EXAMPLES[route.operationId ?? '']?.answers?.[Number(status)];
  return json === undefined || example === undefined
    ? response
    : { ...response, content: { ...response.content, 'application/json': { ...json, example } } };
}

function refusalHeaders(status: Refusal): AnswerHeader[] {
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

/** Headers of every answer of a route. An answer to the operator, or to nobody known, has no limits to tell. */
const commonHeaders = (access: RouteAccess): AnswerHeader[] =>
  access === 'open'
    ? ['X-Request-Id']
    : [
        'X-Request-Id',
        'RateLimit-Policy',
        'RateLimit',
        ...(access.deprecated === undefined ? [] : (['Deprecation', 'Sunset', 'Link'] as const)),
      ];

/** The refusals a route can answer by its form: anybody may be refused a key, a body may be too large, a path may lead nowhere. */
function usualRefusals(route: RouteConfig, access: RouteAccess): Refusal[] {
  const { params, query, body } = route.request ?? {};
  return [
    // A GET may come with a parameter that there is not (query.ts).
    ...(route.method !== 'get' && query === undefined && body === undefined ? [] : [400 as const]),
    401,
    ...(access === 'open' ? [] : [403 as const]),
    ...(params === undefined ? [] : [404 as const]),
    ...(body === undefined ? [] : [413 as const, 415 as const, 422 as const]),
    429,
    500,
    503,
  ];
}

/** A route's description with all that holds for it by its place in the table of routes. */
export function described(
  route: RouteConfig & { problems?: readonly Refusal[] },
  table: Readonly<Record<string, RouteAccess>> = ROUTE_ACCESS,
): RouteConfig {
  const { problems = [], responses, ...rest } = route;
  const access = accessOf(table, route.method, route.path);
  const common = headerRefs(...commonHeaders(access));
  return {
    ...rest,
    tags: [tagOf(route.path)],
    security: securityOf(access),
    ...withBodyExample(route),
    ...(access !== 'open' && access.deprecated !== undefined ? { deprecated: true } : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(responses).map(([status, response]) =>
          isReference(response)
            ? [status, response]
            : [status, { ...withExample(route, status, response), headers: { ...common, ...response.headers } }],
        ),
      ),
      ...Object.fromEntries(
        [...usualRefusals(route, access), ...problems].map((status) => [status, refusal(status, access)]),
      ),
    },
  };
}

type ResponseConfig = Exclude<RouteConfig['responses'][string], { $ref: string }>;
const isReference = (response: RouteConfig['responses'][string]): response is { $ref: string } => '$ref' in response;

/** The table is by the router's paths; the document has `{id}` where the router has `:id`. */
export const documentPath = (path: string): string => path.replace(/:(\w+)(?:\{[^}]*\})?/g, '{$1}');

function accessOf(table: Readonly<Record<string, RouteAccess>>, method: string, path: string): RouteAccess {
  const name = `${method.toUpperCase()} ${path}`;
  const [, access] = Object.entries(table).find(([route]) => documentPath(route) === name) ?? [];
  if (access === undefined) {
    throw new Error(`"${name}" is not in the table of routes (route-access.ts)`);
  }
  return access;
}

/** Who may call a route: any one of these. The scope stands where OpenAPI 3.1 has the roles of a scheme. */
function securityOf(access: RouteAccess): Record<string, string[]>[] {
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
