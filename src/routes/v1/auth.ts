import type { Context, MiddlewareHandler } from 'hono';
import { isWithin } from '../../domain/net/cidr.ts';
import { isReadToken, verifyReadToken } from '../../services/auth/read-token.ts';
import { checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import type { KeyRecord } from '../../services/auth/actor.ts';
import { containsKey, isKey } from '../../domain/key/format.ts';
import { grants, type Scope } from '../../domain/key/scopes.ts';
import { callerOf, identify, LONG_MS, recordUse, RECHECK_MS, verifyKey } from '../../services/auth/verify-key.ts';
import type { AppEnv } from '../http/app-env.ts';
import { CHALLENGE, problem, PROBLEM_TYPE } from '../http/problem.ts';
import { rateLimitedResponse, senderOf, limitOpenRoute } from '../http/edge-rate-limit.ts';
import type { FindRoute, RouteAccess, V1Context } from './route.ts';

/**
 * Authorizes a request for its route, and sets its caller. Every missing or invalid key gets the same 401, which
 * reveals nothing about keys; a key without permission gets 403. Scopes are checked before any resource is read, so a
 * key learns nothing about resources outside of its scopes.
 */
export const authorize =
  (findRoute: FindRoute): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    const begun = c.var.context.clock();
    const isLong = (): boolean => c.var.context.clock() - begun >= LONG_MS;
    c.set('startedAt', begun);
    c.set('isStillAuthorized', () => Promise.resolve(true));
    c.set('recheckAuth', async () => !isLong() || c.var.isStillAuthorized());
    c.set('readUntil', null);
    // Also beside a valid header, and on open routes: URLs end up in logs and histories.
    if (containsKey(decodedQuery(c.req.url))) {
      return unauthorized(
        c,
        'A key in a URL is not accepted. Send it as "Authorization: Bearer <key>", and rotate this key.',
      );
    }
    // Null where the route does not exist. Only a valid key learns that.
    const access = findRoute(c)?.access ?? null;
    if (access === 'open') {
      return limitOpenRoute(c, next);
    }
    const header = bearerOf(c);
    // A text in the form of a key is not ADMIN_TOKEN, so keys are not compared with it.
    if (header !== null && !isKey(header) && (await isEqualText(header, c.var.context.config.adminToken))) {
      if (access !== null && access.operator !== true) {
        return problem(c, 'admin_token_not_accepted', {
          detail:
            'ADMIN_TOKEN is for the operator’s routes. Send a key of an account; POST /v1/keys with ADMIN_TOKEN creates one.',
        });
      }
      c.set('actor', { key: null, requestId: c.var.requestId });
      return next();
    }
    const inQuery = header === null && access?.readToken === 'query' ? (c.req.query('token') ?? null) : null;
    const credential = header ?? inQuery;
    const refused =
      credential !== null && isReadToken(credential)
        ? await authorizeReadToken(c, credential, access)
        : await authorizeKey(c, header, access?.scope ?? null);
    if (refused !== null) {
      return refused;
    }
    await next();
    if (c.req.method === 'GET' && isLong() && !(await c.var.isStillAuthorized())) {
      const { body, status } = unauthorized(c, 'The key or token was revoked, or expired, during this request.');
      // Without the headers of the withheld response, which describe the job.
      c.res = undefined;
      c.res = new Response(body, { status, headers: { ...CHALLENGE, 'content-type': PROBLEM_TYPE } });
    }
    return undefined;
  };

/** Authorizes a key: it must be valid, come from an allowed address and have the scope. Null means authorized. */
async function authorizeKey(c: V1Context, secret: string | null, scope: Scope | null): Promise<Response | null> {
  const { context, requestId } = c.var;
  const identified = await identify(context, secret, senderOf(c), (work) => runInBackground(c, work));
  if (identified.key === null) {
    return identified.wait_s === null
      ? unauthorized(c, 'Send a valid key as "Authorization: Bearer <key>".')
      : rateLimitedResponse(c, 'address', identified.wait_s);
  }
  const { key, secret: used } = identified;
  const wait_s = await checkEdgeLimit(context.env, 'key', key.id);
  if (wait_s !== null) {
    return rateLimitedResponse(c, 'key', wait_s);
  }
  // Cloudflare sets this header on every request and drops a client's own.
  const address = c.req.header('cf-connecting-ip') ?? '';
  if (!isAllowedFrom(key, address)) {
    return problem(c, 'ip_not_allowed', { detail: 'The key is not allowed from this IP address.' });
  }
  if (scope !== null && !grants(key.scopes, scope)) {
    return insufficientScope(c, scope);
  }
  if (scope === 'keys:write' && used.ends_at !== null) {
    // A key that it creates, or a secret that it gets, would outlive its grace.
    return problem(c, 'exceeds_key', {
      detail: 'A secret that a rotation replaced cannot manage keys. Use the new one.',
    });
  }
  c.set('caller', callerOf(key));
  c.set('secret', used);
  c.set('actor', { key, requestId });
  c.set('hasScope', (wanted) => grants(key.scopes, wanted));
  c.set('isStillAuthorized', async (also) => {
    const now = secret === null ? null : await verifyKey(context, secret, RECHECK_MS);
    const scopes = [scope, also ?? null].filter((each) => each !== null);
    return now !== null && isAllowedFrom(now, address) && scopes.every((each) => grants(now.scopes, each));
  });
  runInBackground(c, recordUse(context, key));
  return null;
}

/**
 * Authorizes a read token for the job in the path, on a route that accepts one. The key's `ip_allow` does not apply to
 * browsers.
 */
async function authorizeReadToken(c: V1Context, token: string, access: RouteAccess | null): Promise<Response | null> {
  const [, , , job = ''] = c.req.path.split('/');
  const taken = access !== null && access !== 'open' && access.readToken !== undefined;
  const { context } = c.var;
  const verified = taken ? await verifyReadToken(context, token, job) : null;
  if (verified === null || !taken) {
    const wait_s = await checkEdgeLimit(context.env, 'bad_key', senderOf(c));
    return wait_s !== null
      ? rateLimitedResponse(c, 'address', wait_s)
      : unauthorized(c, 'The read token has expired, is for another job, or does not allow this route.');
  }
  const { key, expires_at } = verified;
  // All tokens of a key share a limit of their own, so that watchers cannot exhaust the limit of submits.
  const wait_s = await checkEdgeLimit(context.env, 'key', `${key.id}:tokens`);
  if (wait_s !== null) {
    return rateLimitedResponse(c, 'key', wait_s);
  }
  if (!grants(key.scopes, access.scope)) {
    return insufficientScope(c, access.scope);
  }
  c.set('caller', callerOf(key));
  c.set('readUntil', expires_at);
  c.set('hasScope', (wanted) => wanted === access.scope);
  c.set('isStillAuthorized', async () => {
    const now = await verifyReadToken(context, token, job, RECHECK_MS);
    return now !== null && grants(now.key.scopes, access.scope);
  });
  return null;
}

const isAllowedFrom = (key: KeyRecord, address: string): boolean =>
  key.ip_allow === null || isWithin(key.ip_allow, address);

const insufficientScope = (c: V1Context, scope: Scope): Response =>
  problem(c, 'insufficient_scope', {
    detail: `The key must have the scope "${scope}".`,
    // RFC 6750 section 3.
    headers: { 'www-authenticate': `Bearer realm="comfy-edge", error="insufficient_scope", scope="${scope}"` },
  });

/**
 * The credential of an `Authorization: Bearer` header, or null. The scheme's case does not matter (RFC 9110 section
 * 11.1).
 */
export const bearerOf = (c: Context): string | null =>
  /^bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? null;

export const unauthorized = (c: Context, detail: string): Response => problem(c, 'unauthorized', { detail });

function decodedQuery(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? '' : [...new URLSearchParams(url.slice(query + 1))].flat().join('\n');
}

/** Compares in constant time. Hashes have one length, so the length of the secret does not show either. */
async function isEqualText(left: string, right: string): Promise<boolean> {
  const encoder = new TextEncoder();
  const [a, b] = await Promise.all([left, right].map((text) => crypto.subtle.digest('SHA-256', encoder.encode(text))));
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}

/** Runs work without delaying the response. If recording a key's use fails, the next use records it again. */
function runInBackground(c: V1Context, work: Promise<void>): void {
  const quiet = work.catch(() => {});
  try {
    c.executionCtx.waitUntil(quiet);
  } catch {
    // A test may call without an execution context: the work then continues by itself.
  }
}
