import type { MiddlewareHandler } from 'hono';
import type { Quota } from '../../contract/admission.ts';
import { quotaOf } from '../../services/account/quota.ts';
import type { AppEnv } from './app-env.ts';
import { setResponseHeader } from './response-headers.ts';

/** What asks the account for admission, and so learns what is left. */
const SUBMITS: ReadonlySet<string> = new Set(['/v1/jobs', '/v1/jobs/batch']);

/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) on every answer to a key; a read token is not told what its
 * account may and does. A submit's own admission says
 * what is left; for all else a reading of the last two seconds does, taken beside the route's work where there is none.
 */
export const rateLimitHeaders: MiddlewareHandler<AppEnv> = async (c, next) => {
  const { core, caller } = c.var;
  if (caller === undefined || c.var.readUntil !== null) {
    return next();
  }
  const isSubmit = c.req.method === 'POST' && SUBMITS.has(c.req.path);
  const early = isSubmit ? null : quotaOf(core, caller);
  await next();
  const quota = c.get('quota') ?? (await early) ?? (await quotaOf(core, caller));
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
