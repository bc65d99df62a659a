import { z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { quote } from '../../domain/problems.ts';
import type { AppEnv } from '../http/app-env.ts';
import { problem } from '../http/problem.ts';
import { documentPath } from './answers.ts';
import { ROUTE_ACCESS, routeName } from './route-access.ts';
import type { V1App } from './v1-app.ts';

/** The descriptions of routes as they were given (v1-app.ts). */
type Registry = V1App['openAPIRegistry'];

/** Where a name of a document's parameter is open: `metadata.{name}` stands for `metadata.` and anything. */
const OPEN_NAME = /\{[^}]*\}$/;

/**
 * Refuses a GET with a parameter that its route does not describe: a filter that is misspelt must not look like one that holds. Routes
 * that a browser opens by their URL alone take any, because EventSource libraries and pages put their own into it.
 * @param registry where the routes have described themselves; read when the first request comes
 */
export function strictQuery(registry: Registry): MiddlewareHandler<AppEnv> {
  let known: ReadonlyMap<string, readonly string[]> | undefined;
  return async (c, next) => {
    const route = matchedRoutes(c).find(({ method }) => method !== 'ALL');
    if (route?.method !== 'GET' || !c.req.url.includes('?')) {
      return next();
    }
    const name = routeName(route);
    const access = ROUTE_ACCESS[name];
    if (access === undefined || access === 'open' || access.readToken === 'query') {
      return next();
    }
    known ??= parametersOf(registry);
    const takes = known.get(documentPath(name)) ?? [];
    const stranger = [...new URL(c.req.url).searchParams.keys()].find((each) => !takes.some((one) => fits(one, each)));
    return stranger === undefined
      ? next()
      : problem(c, 'invalid_parameter', {
          detail: `${quote(stranger)} is no parameter here; ${takes.length === 0 ? 'there is none' : `there are ${takes.join(', ')}`}`,
        });
  };
}

const fits = (parameter: string, name: string): boolean =>
  OPEN_NAME.test(parameter) ? name.startsWith(parameter.replace(OPEN_NAME, '')) : name === parameter;

/** Names of query parameters by `GET /path` of the document. */
function parametersOf(registry: Registry): ReadonlyMap<string, readonly string[]> {
  return new Map(
    registry.definitions.flatMap((definition) => {
      if (definition.type !== 'route') {
        return [];
      }
      const { method, path, request } = definition.route;
      const names = request?.query instanceof z.ZodObject ? Object.keys(request.query.shape) : [];
      return [[`${method.toUpperCase()} ${path}`, names]];
    }),
  );
}
