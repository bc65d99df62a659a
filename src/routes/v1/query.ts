import { z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { quote } from '../../domain/problems.ts';
import type { AppEnv } from '../http/app-env.ts';
import { problem } from '../http/problem.ts';
import type { FindRoute, Route } from './route.ts';

/** A name of a parameter with an open end: `metadata.{name}` matches `metadata.` and any text. */
const OPEN_NAME = /\{[^}]*\}$/;

/**
 * Refuses a GET with a parameter that its route does not define: a misspelled filter must not look applied. Routes
 * that a browser opens by their URL alone accept any parameter, because EventSource libraries and pages add their own.
 */
export const strictQuery =
  (findRoute: FindRoute): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    const route = findRoute(c);
    if (route?.method !== 'get' || acceptsAny(route) || !c.req.url.includes('?')) {
      return next();
    }
    const known = parametersOf(route);
    const unknown = [...new URL(c.req.url).searchParams.keys()].find((name) => !known.some((each) => fits(each, name)));
    const advice = known.length === 0 ? 'This route has none.' : `This route has ${known.join(', ')}.`;
    return unknown === undefined
      ? next()
      : problem(c, 'invalid_parameter', { detail: `Unknown query parameter ${quote(unknown)}. ${advice}` });
  };

const acceptsAny = ({ access }: Route): boolean => access === 'open' || access.readToken === 'query';

function parametersOf({ query }: Route): string[] {
  if (query === undefined) {
    return [];
  }
  return Object.keys(query instanceof z.ZodObject ? query.shape : query.schema.shape);
}

const fits = (parameter: string, name: string): boolean =>
  OPEN_NAME.test(parameter) ? name.startsWith(parameter.replace(OPEN_NAME, '')) : name === parameter;
