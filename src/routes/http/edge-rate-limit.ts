import type { Context, MiddlewareHandler } from 'hono';
import { addressGroup, checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import type { AppEnv } from './app-env.ts';
import { problem } from './problem.ts';
import { retryLater, resumes } from './sse.ts';

/** Too much of one kind, long before anything exact has counted it. A stream that was cut off gets its answer as a stream. */
export const rateLimitedResponse = (c: Context<AppEnv>, what: 'address' | 'key', wait_s: number): Response =>
  resumes(c)
    ? retryLater(c, c.var.core.newSeed)
    : problem(c, 'rate_limited', {
        detail: `Too many requests ${what === 'key' ? 'with this key' : 'from this address'}. Try again later.`,
        violated: [what],
        headers: { 'retry-after': String(wait_s) },
      });

/** Whom a request is counted for while nobody knows who sent it. Cloudflare sets the header; a client's own does not get through. */
export const senderOf = (c: Context): string | null => addressGroup(c.req.header('cf-connecting-ip'));

/** In front of what anybody may call. */
export const limitOpenRoute: MiddlewareHandler<AppEnv> = async (c, next) => {
  const wait_s = await checkEdgeLimit(c.env, 'open', senderOf(c));
  return wait_s === null ? next() : rateLimitedResponse(c, 'address', wait_s);
};
