import type { Context, MiddlewareHandler } from 'hono';
import { verifyKey } from '../../core/keys/verify.ts';
import { containsKey } from '../../core/keys/format.ts';
import type { AppEnv } from '../app-env.ts';
import { problem } from '../problem.ts';

/** `WWW-Authenticate` of every 401 (RFC 9110 section 11.6.1). */
const CHALLENGE = { 'www-authenticate': 'Bearer realm="comfy-edge"' };

/**
 * Lets a request through with a valid key and says whose it is. One answer for every way of not having one, so that it tells
 * nothing about keys. A key in a query is refused even beside a good header: URLs end up in logs and histories.
 */
export const requireKey: MiddlewareHandler<AppEnv> = async (c, next) => {
  if (containsKey(decodedQuery(c.req.url))) {
    return unauthorized(
      c,
      'a key in a URL is not accepted; send it as "Authorization: Bearer <key>" and replace this one',
    );
  }
  const key = bearerOf(c);
  const caller = key === null ? null : await verifyKey(c.var.core, key);
  if (caller === null) {
    return unauthorized(c, 'send a valid key as "Authorization: Bearer <key>"');
  }
  c.set('caller', caller);
  return next();
};

/** The credential of an `Authorization: Bearer` header, or null. The scheme's case does not matter (RFC 9110 section 11.1). */
export const bearerOf = (c: Context): string | null =>
  /^bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? null;

export const unauthorized = (c: Context, detail: string): Response =>
  problem(c, 'unauthorized', { detail, headers: CHALLENGE });

function decodedQuery(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? '' : [...new URLSearchParams(url.slice(query + 1))].flat().join('\n');
}
