import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { AppEnv } from '../http/app-env.ts';
import { appendResponseHeader, setResponseHeader } from '../http/response-headers.ts';
import { ROUTE_ACCESS, routeName, type Deprecated, type RouteAccess } from './route-access.ts';

/** Tells callers of a deprecated route so, on every answer, refusals included. Nothing where the table says nothing. */
export const deprecationHeaders =
  (table: Readonly<Record<string, RouteAccess>> = ROUTE_ACCESS): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    await next();
    const route = matchedRoutes(c).find(({ method }) => method !== 'ALL');
    const access = route === undefined ? undefined : table[routeName(route)];
    if (access !== undefined && access !== 'open' && access.deprecated !== undefined) {
      for (const [name, value] of Object.entries(headersOf(access.deprecated, c.var.core.config.publicUrl))) {
        (name === 'link' ? appendResponseHeader : setResponseHeader)(c, name, value);
      }
    }
  };

/** `Deprecation` (RFC 9745: a date as in RFC 9651), `Sunset` (RFC 8594: a date as in HTTP) and where to go instead (RFC 5829). */
export function headersOf(deprecated: Deprecated, publicUrl: string): Record<string, string> {
  const { since, sunset, successor } = deprecated;
  const links = [
    ...(successor === null ? [] : [`<${publicUrl}/v1${successor}>; rel="successor-version"`]),
    `<${publicUrl}/docs>; rel="deprecation"; type="text/html"`,
  ];
  return {
    deprecation: `@${Date.parse(since) / 1000}`,
    ...(sunset === null ? {} : { sunset: new Date(sunset).toUTCString() }),
    link: links.join(', '),
  };
}
