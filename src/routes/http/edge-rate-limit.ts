import type { Context, MiddlewareHandler } from 'hono';
import { addressGroup, checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import type { AppEnv } from './app-env.ts';
import { problem } from './problem.ts';
import { retryLater, resumes } from './sse.ts';

/** The response to a request over an edge rate limit. A stream that resumes gets it as a stream. */
export const rateLimitedResponse = (c: Context<AppEnv>, what: 'address' | 'key', wait_s: number): Response =>
  resumes(c)
    ? retryLater(c, c.var.context.newSeed)
    : problem(c, 'rate_limited', {
        detail: `Too many requests ${what === 'key' ? 'with this key' : 'from this address'}. Try again later.`,
        violated: [what],
        headers: { 'retry-after': String(wait_s) },
      });

/**
 * The address group that an unauthenticated request counts for. Cloudflare sets the header and drops a client's own.
 */
export const senderOf = (c: Context): string | null => addressGroup(c.req.header('cf-connecting-ip'));

/** Limits the routes that need no key. */
export const limitOpenRoute: MiddlewareHandler<AppEnv> = async (c, next) => {
  const wait_s = await checkEdgeLimit(c.env, 'open', senderOf(c));
  return wait_s === null ? next() : rateLimitedResponse(c, 'address', wait_s);
};
