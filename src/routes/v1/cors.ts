import type { Context, MiddlewareHandler } from 'hono';
import { TrieRouter } from 'hono/router/trie-router';
import type { AppEnv } from '../http/app-env.ts';
import { appendResponseHeader, setResponseHeader } from '../http/response-headers.ts';
import { RESPONSE_HEADERS } from './response-headers.ts';
import { routerPath } from './route.ts';
import { ROUTES } from './routes.ts';

/**
 * Which pages may read which responses (docs/guides/browsers.md). No response depends on a cookie or on the browser's
 * network, so any page may read the public documents and the routes that accept a read token. All other routes are for
 * the origins that the operator names, because keys do not belong in pages.
 *
 * Own code: `hono/cors` takes every `OPTIONS` for a preflight, where one without `Origin` is a method that no route
 * has; it repeats the header names of a preflight unchecked; and its `origin` and `allowMethods` would be the two
 * functions below.
 */

/** Chromium's maximum: two hours. */
const PREFLIGHT_S = 7200;
/** A list of header names (RFC 9110 section 5.1). */
const HEADER_NAMES = /^[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*$/;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
const EXPOSED = Object.keys(RESPONSE_HEADERS).join(', ');

/** Routes that workers and RunPod call, not browsers. */
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

/**
 * Answers preflights before any check of a key, and sets the headers that let pages read a response. Needs `context`.
 */
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
    // The response depends on the origin, also without one: a cache must not mix them up.
    appendResponseHeader(c, 'vary', 'Origin');
  }
  if (allowed !== null) {
    setResponseHeader(c, 'access-control-allow-origin', allowed);
    setResponseHeader(c, 'access-control-expose-headers', EXPOSED);
  }
  return undefined;
};

/** The value of `Access-Control-Allow-Origin`; null without the header. */
function allowedOrigin(c: Context<AppEnv>, method: string, origin: string | undefined): string | null {
  const [handlers] = forAnyPage.match(method === 'HEAD' ? 'GET' : method, c.req.path);
  const { corsOrigins } = c.var.context.config;
  if (handlers.length > 0 || corsOrigins.includes('*')) {
    return '*';
  }
  return origin !== undefined && corsOrigins.includes(origin) ? origin : null;
}

/**
 * 204 in every case: a preflight refuses by missing headers (Fetch standard, CORS-preflight). A browser caches the list
 * of methods, so the list has exactly the methods that this origin may use on this path.
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
