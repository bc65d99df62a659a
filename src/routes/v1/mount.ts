import { z, type OpenAPIHono } from '@hono/zod-openapi';
import { matchedRoutes } from 'hono/route';
import { quote } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { ruleOf } from '../../domain/validation.ts';
import type { AppEnv } from '../http/app-env.ts';
import { readJsonBody, readOptionalJsonBody } from '../http/body.ts';
import { problemResponse } from '../http/problem.ts';
import { operationOf } from './operation.ts';
import { routerPath, type Failure, type FindRoute, type Route, type V1Context } from './route.ts';

/** Gives definitions to the router and to the OpenAPI document. */
export function mount(app: OpenAPIHono<AppEnv>, routes: readonly Route[]): void {
  for (const route of routes) {
    app.openAPIRegistry.registerPath(operationOf(route));
    app.on(route.method.toUpperCase(), routerPath(route), (c) => respond(c, route));
  }
}

/** Where the router has v1. */
const BASE = '/v1';

/**
 * Finds the definition of the route that Hono has matched. A route without a definition would have no check of access.
 */
export function routeFinder(routes: readonly Route[]): FindRoute {
  const byName = new Map(routes.map((route) => [`${route.method.toUpperCase()} ${BASE}${routerPath(route)}`, route]));
  return (c) => {
    const matched = matchedRoutes(c).find(({ method }) => method !== 'ALL');
    const route = matched === undefined ? null : byName.get(`${matched.method} ${matched.path}`);
    if (route === undefined) {
      throw new Error(`${matched?.method} ${matched?.path} has no definition`);
    }
    return route;
  };
}

/** Reads the query and the body, calls the handler, and renders its answer. */
async function respond(c: V1Context, route: Route): Promise<Response> {
  const query = queryOf(c, route.query);
  if (!query.ok) {
    return problemResponse(c, query.problem);
  }
  const body = await bodyOf(c, route.body);
  if (!body.ok) {
    return problemResponse(c, body.problem);
  }
  const answer = await route.handle(c, { query: query.value, body: body.value });
  return answer instanceof Response ? answer : problemResponse(c, answer.problem);
}

function queryOf(c: V1Context, query: Route['query']): { ok: true; value: unknown } | Failure {
  if (query === undefined) {
    return ok(undefined);
  }
  return query instanceof z.ZodObject ? readQuery(query, c.req.query()) : query.read(c.req.queries());
}

/** A query as its schema says; the problem names the parameter. */
export function readQuery<T>(schema: z.ZodType<T>, query: Record<string, string>): Result<T, Failure['problem']> {
  const parsed = schema.safeParse(query);
  if (parsed.success) {
    return ok(parsed.data);
  }
  const [issue] = parsed.error.issues;
  const name = String(issue?.path[0] ?? 'query');
  return fail({
    code: name === 'cursor' ? 'invalid_cursor' : 'invalid_parameter',
    detail: `${quote(name)} ${issue === undefined ? 'is invalid' : ruleOf(issue)}.`,
  });
}

function bodyOf(c: V1Context, body: Route['body']): Promise<{ ok: true; value: unknown } | Failure> {
  if (body?.kind !== 'json') {
    return Promise.resolve(ok(undefined));
  }
  return body.optional === true ? readOptionalJsonBody(c) : readJsonBody(c, body.maxBytes);
}
