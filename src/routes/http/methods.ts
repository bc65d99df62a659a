import type { Context, MiddlewareHandler } from 'hono';
import { TrieRouter } from 'hono/router/trie-router';
import type { AppEnv } from './app-env.ts';
import { problem } from './problem.ts';

/** A route as a router lists it. Middleware is listed under every method, `ALL`. */
type Route = { method: string; path: string };

/** The methods of a path; null where the path does not exist. */
export type MethodsAt = (path: string) => readonly string[] | null;

const isLiteral = (path: string): boolean => !/[:*]/.test(path);

/**
 * The methods of each path, from the routes of the router. A literal path wins over a parameter: `/v1/jobs/batch` is
 * not a job id. OpenAPI 3.1 matches paths in the same way.
 * @param routes read at the first call, when all of them are mounted
 */
export function methodsOf(routes: () => readonly Route[]): MethodsAt {
  let table: { literal: Map<string, readonly string[]>; patterns: TrieRouter<readonly string[]> } | undefined;
  return (path) => {
    table ??= tableOf(routes());
    const found = table.literal.get(path) ?? table.patterns.match('ALL', path)[0].flatMap(([methods]) => methods);
    return found.length === 0 ? null : [...new Set(found)];
  };
}

function tableOf(routes: readonly Route[]) {
  const named = routes.filter(({ method }) => method !== 'ALL');
  const paths = Map.groupBy(named, ({ path }) => path);
  const literal = new Map<string, readonly string[]>();
  const patterns = new TrieRouter<readonly string[]>();
  for (const [path, own] of paths) {
    // Every route with GET also answers HEAD (RFC 9110 section 9.3.2).
    const methods = own.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
    if (isLiteral(path)) {
      literal.set(path, methods);
    } else {
      patterns.add('ALL', path, methods);
    }
  }
  return { literal, patterns };
}

/** 405 with the path's methods (RFC 9110 section 15.5.6). */
export const methodNotAllowed = (c: Context, methods: readonly string[]): Response =>
  problem(c, 'method_not_allowed', {
    detail: `Use ${methods.join(', ')} here.`,
    headers: { allow: methods.join(', ') },
  });

/** Refuses a method that the path does not have before a route with a parameter in its path can take it for its own. */
export const onlyMethodsOf =
  (methodsAt: MethodsAt): MiddlewareHandler<AppEnv> =>
  (c, next) => {
    const methods = methodsAt(c.req.path);
    return methods === null || methods.includes(c.req.method) ? next() : Promise.resolve(methodNotAllowed(c, methods));
  };
