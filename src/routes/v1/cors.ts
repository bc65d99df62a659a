import type { Context, MiddlewareHandler } from 'hono';
import { TrieRouter } from 'hono/router/trie-router';
import type { AppEnv } from '../http/app-env.ts';
import { appendResponseHeader, setResponseHeader } from '../http/response-headers.ts';
import { RESPONSE_HEADERS } from './response-headers.ts';
import { routerPath } from './route.ts';
import { ROUTES } from './routes.ts';

/**
 * Which pages may read which answers (docs/guides/browsers.md). No answer depends on a cookie or on where a browser is, so nothing is
 * ever given to a page that it could not fetch elsewhere: what a read token shows, and the public documents, any page may read. All
 * else is for the origins that the operator names, lest keys get into pages by habit.
 *
 * Own code: `hono/cors` takes every `OPTIONS` for a preflight, where one without `Origin` is a method that no route has; it repeats the
 * header names of a preflight unchecked; and its `origin` and `allowMethods` would be the two functions below.
 */

/** Chromium asks again after two hours at most, whatever it is told. */
const PREFLIGHT_S = 7200;
/** Header names as RFC 9110 section 5.1 has them. */
const HEADER_NAMES = /^[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*$/;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
const EXPOSED = Object.keys(RESPONSE_HEADERS).join(', ');

/** Not for browsers: workers and RunPod call these. */
const MACHINE_ROUTES = /^\/(?:worker|hooks)\//;

const forAnyPage = new TrieRouter<true>();
for (const path of ['/openapi.json', '/docs', '/problems', '/problems/*', '/healthz', '/readyz', '/status']) {
  forAnyPage.add('GET', path, true);
}
for (const route of ROUTES) {
  if (route.access !== 'open' && route.access.readToken !== undefined) {
    forAnyPage.add(route.method.toUpperCase(), `/v1${routerPath(route)}`, true);
  }
}

/** Answers preflights, before any key is looked at, and lets pages read what they may. Needs `core`. */
export const cors: MiddlewareHandler<AppEnv> = async (c, next) => {
  const origin = c.req.header('origin');
  const asked = c.req.method === 'OPTIONS' ? c.req.header('access-control-request-method') : undefined;
  if (MACHINE_ROUTES.test(c.req.path)) {
    return next();
  }
  const allowed = allowedOrigin(c, asked ?? c.req.method, origin);
  if (origin !== undefined && asked !== undefined) {
    return preflight(c, allowed);
  }
  await next();
  if (allowed !== '*') {
    // The answer differs by origin, also where it has none: a cache must not give the one for the other.
    appendResponseHeader(c, 'vary', 'Origin');
  }
  if (allowed !== null) {
    setResponseHeader(c, 'access-control-allow-origin', allowed);
    setResponseHeader(c, 'access-control-expose-headers', EXPOSED);
  }
  return undefined;
};

/** What `Access-Control-Allow-Origin` says; null: nothing. */
function allowedOrigin(c: Context<AppEnv>, method: string, origin: string | undefined): string | null {
  const [handlers] = forAnyPage.match(method === 'HEAD' ? 'GET' : method, c.req.path);
  const { corsOrigins } = c.var.core.config;
  if (handlers.length > 0 || corsOrigins.includes('*')) {
    return '*';
  }
  return origin !== undefined && corsOrigins.includes(origin) ? origin : null;
}

/**
 * 204 in any case: what is not allowed is so by what the answer lacks (Fetch standard, CORS-preflight). A browser keeps the list of
 * methods, so it has those that this origin may use at this place, and no more.
 */
function preflight(c: Context<AppEnv>, allowed: string | null): Response {
  c.header('vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers');
  if (allowed !== null) {
    const headers = c.req.header('access-control-request-headers') ?? '';
    c.header('access-control-allow-origin', allowed);
    const origin = c.req.header('origin');
    const methods = METHODS.filter((method) => allowedOrigin(c, method, origin) !== null);
    c.header('access-control-allow-methods', methods.join(', '));
    c.header('access-control-max-age', String(PREFLIGHT_S));
    if (HEADER_NAMES.test(headers)) {
      c.header('access-control-allow-headers', headers);
    }
  }
  return c.body(null, 204);
}
