import type { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { ErrorStatus } from '../../contract/errors.ts';
import type { Problem } from '../../domain/problems.ts';
import type { Scope } from '../../domain/key/scopes.ts';
import type { AppEnv } from '../http/app-env.ts';
import type { ResponseHeader } from './response-headers.ts';

/**
 * The definition of a route of v1: method, path, access, request, responses and handler. The router, the access check,
 * the check of query parameters, CORS and the OpenAPI document all read this one definition.
 */

/**
 * Who may call a route. `operator`: ADMIN_TOKEN is accepted too. `readToken`: a read token of the job in the path is
 * accepted too, in the header, or also as `?token=` where a browser cannot set headers (EventSource, `<img>`).
 */
export type RouteAccess =
  | { scope: Scope; operator?: true; readToken?: 'header' | 'query' }
  /** No key is needed; the handler checks its input. */
  | 'open';

/**
 * A route that will be removed (docs/reference/api.md, Versions): dates as ISO 8601, the first of a day in UTC;
 * `sunset` is null while no end is decided; `successor` is a path of v1 or null. Headers and the OpenAPI document say
 * it to callers.
 */
export type Deprecated = { since: string; sunset: string | null; successor: string | null };

/** Statuses of refusals. The router answers 405 by itself. */
export type RefusalStatus = Exclude<ErrorStatus, 405>;

type Media = { schema: z.ZodType; example?: unknown };

/** A JSON body of at most `maxBytes`. With `optional`, a request without a body is one with `{}`. */
export type JsonBody = { kind: 'json'; schema: z.ZodType; example: unknown; maxBytes?: number; optional?: true };
/** A body that the handler reads by itself, as it arrives. */
export type StreamedBody = { kind: 'streamed'; content: Readonly<Record<string, Media>> };

/** A query that a schema alone cannot read. `schema` describes it for the OpenAPI document. */
export type CustomQuery<Query> = {
  schema: z.ZodObject;
  read: (queries: Record<string, string[]>) => { ok: true; value: Query } | Failure;
};

/** A response that is not a refusal. Without `content` it has no body. */
export type RouteResponse = {
  description: string;
  headers?: readonly ResponseHeader[];
  content?: Readonly<Record<string, Media>>;
};

export type Failure = { ok: false; problem: Problem };

export type V1Context<Path extends string = string> = Context<AppEnv, RouterPath<Path>>;

/** `/jobs/{id}` as Hono writes it: `/jobs/:id`. */
export type RouterPath<Path extends string> = Path extends `${infer Before}{${infer Name}}${infer After}`
  ? `${Before}:${Name}${RouterPath<After>}`
  : Path;

/** The parts of a definition that do not depend on its query. */
type Definition<Path extends string> = {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** Below `/v1`, as the OpenAPI document writes it: `/jobs/{id}`. */
  path: Path;
  access: RouteAccess;
  operationId: string;
  summary: string;
  description?: string;
  deprecated?: Deprecated;
  /** The account admits the request, and its answer has the remaining quota. */
  admission?: true;
  params?: z.ZodObject;
  /** The last parameter may contain slashes. */
  wildcard?: true;
  headers?: z.ZodObject;
  body?: JsonBody | StreamedBody;
  responses: Readonly<Record<number, RouteResponse>>;
  /** Statuses of refusals that do not follow from the route's form. */
  refusals?: readonly RefusalStatus[];
};

/**
 * What the handler gets besides the context. `body` is parsed JSON, not yet checked against its schema: services do
 * that.
 */
type Input<Query> = { query: Query; body: unknown };

/** Answers with a response, or with the problem of a service. */
type Handler<Path extends string, Query> = (
  c: V1Context<Path>,
  input: Input<Query>,
) => Promise<Response | Failure> | Response | Failure;

export type Route = Definition<string> & {
  query?: z.ZodObject | CustomQuery<unknown> | undefined;
  handle(c: V1Context, input: Input<unknown>): Promise<Response | Failure> | Response | Failure;
};

/** Finds the route that will answer; null where the path or the method does not exist. */
export type FindRoute = (c: Context<AppEnv>) => Route | null;

/** What a schema of a query makes of it. */
type QueryOf<Q> = Q extends z.ZodObject ? z.output<Q> : Q extends CustomQuery<infer Value> ? Value : undefined;

/** A route whose handler gets its query as the schema says. */
export const defineRoute = <
  const Path extends string,
  Q extends z.ZodObject | CustomQuery<unknown> | undefined = undefined,
>(
  route: Definition<Path> & { query?: Q; handle: Handler<Path, QueryOf<Q>> },
): Route => route;

/** A route in the words of the OpenAPI document: `GET /jobs/{id}`. */
export const routeName = ({ method, path }: Pick<Route, 'method' | 'path'>): string =>
  `${method.toUpperCase()} ${path}`;

/** The router's name of a path: `/jobs/:id`. */
export const routerPath = ({ path, wildcard }: Pick<Route, 'path' | 'wildcard'>): string =>
  // Not `.+`, which stops at U+2028 and U+2029: a name may contain them.
  `${path.replaceAll(/\{(\w+)\}/g, ':$1')}${wildcard === true ? '{[^]+}' : ''}`;

/** A JSON body that the handler gets parsed. */
export const jsonBody = (schema: z.ZodType, options: Omit<JsonBody, 'kind' | 'schema'>): JsonBody => ({
  kind: 'json',
  schema,
  ...options,
});

/** A response with a JSON body. `headers` are its own, beside the headers of every response. */
export const jsonResponse = (
  description: string,
  schema: z.ZodType,
  { headers = [], example }: { headers?: readonly ResponseHeader[]; example?: unknown } = {},
): RouteResponse => ({
  description,
  headers,
  content: { 'application/json': example === undefined ? { schema } : { schema, example } },
});
