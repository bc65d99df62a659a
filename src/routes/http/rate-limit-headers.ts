import type { Context, MiddlewareHandler } from 'hono';
import type { Quota } from '../../contract/admission.ts';
import { quotaOf } from '../../services/account/quota.ts';
import type { AppEnv } from './app-env.ts';
import { setResponseHeader } from './response-headers.ts';

/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) on every response to a key, and on none to
 * a read token, which must not learn about its account. A submit gets the quota from its admission; other routes use a
 * quota of at most two seconds ago, and read it during the route's work where the cache has none.
 * @param isAdmission whether the route asks the account for admission
 */
export const rateLimitHeaders =
  (isAdmission: (c: Context<AppEnv>) => boolean): MiddlewareHandler<AppEnv> =>
  async (c, next) => {
    const { context, caller } = c.var;
    if (caller === undefined || c.var.readUntil !== null) {
      return next();
    }
    const early = isAdmission(c) ? null : quotaOf(context, caller);
    await next();
    const quota = c.get('quota') ?? (await early) ?? (await quotaOf(context, caller));
    if (quota !== null) {
      setResponseHeader(c, 'ratelimit-policy', quota.map(policyItem).join(', '));
      setResponseHeader(c, 'ratelimit', quota.map(stateItem).join(', '));
    }
    return undefined;
  };

const policyItem = ({ name, limit, window_s, unit }: Quota[number]): string =>
  `"${name}";q=${limit}${window_s === null ? '' : `;w=${window_s}`};qu="${unit}"`;

const stateItem = ({ name, remaining, reset_s }: Quota[number]): string =>
  `"${name}";r=${remaining}${reset_s === null ? '' : `;t=${reset_s}`}`;
