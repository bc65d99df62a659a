import type { MiddlewareHandler } from 'hono';
import type { AppEnv } from '../http/app-env.ts';
import { appendResponseHeader, setResponseHeader } from '../http/response-headers.ts';
import type { Deprecated, FindRoute } from './route.ts';

/** Says on every response of a deprecated route, refusals included, that it is deprecated. */
export const deprecationHeaders =
  (findRoute: FindRoute): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    await next();
    const deprecated = findRoute(c)?.deprecated;
    if (deprecated !== undefined) {
      for (const [name, value] of Object.entries(headersOf(deprecated, c.var.context.config.publicUrl))) {
        (name === 'link' ? appendResponseHeader : setResponseHeader)(c, name, value);
      }
    }
  };

/** `Deprecation` (RFC 9745: a date as in RFC 9651), `Sunset` (RFC 8594: an HTTP date) and the successor (RFC 5829). */
function headersOf({ since, sunset, successor }: Deprecated, publicUrl: string): Record<string, string> {
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
