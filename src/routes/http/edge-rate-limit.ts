import type { Context, MiddlewareHandler } from 'hono';
import { addressGroup, checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import type { AppEnv } from './app-env.ts';
import { problem } from './problem.ts';
import { comeBackLater, resumes } from './sse.ts';

/** Too much of one kind, long before anything exact has counted it. A stream that was cut off gets its answer as a stream. */
export const flooded = (c: Context<AppEnv>, what: 'address' | 'key', wait_s: number): Response =>
  resumes(c)
    ? comeBackLater(c, c.var.core.newSeed)
    : problem(c, 'rate_limited', {
        detail: `Too many requests ${what === 'key' ? 'with this key' : 'from this address'}. Try again later.`,
        violated: [what],
        headers: { 'retry-after': String(wait_s) },
      });

/** Whom a request is counted for while nobody knows who sent it. Cloudflare sets the header; a client's own does not get through. */
export const senderOf = (c: Context): string | null => addressGroup(c.req.header('cf-connecting-ip'));

/** In front of what anybody may call. */
export const shieldOpen: MiddlewareHandler<AppEnv> = async (c, next) => {
  const wait_s = await checkEdgeLimit(c.env, 'open', senderOf(c));
  return wait_s === null ? next() : flooded(c, 'address', wait_s);
};
