import { Hono } from 'hono';
import { checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import { isTokenForAttempt } from '../../services/worker/access.ts';
import { onProviderWebhook } from '../../services/worker/channel.ts';
import type { AppEnv } from '../http/app-env.ts';
import { senderOf } from '../http/edge-rate-limit.ts';

/**
 * RunPod's webhook. It is unsigned, and its body is not trusted (reference/runpod.md 2.6). So the URL contains a token,
 * and the webhook only makes the job poll RunPod for its status. Calls without the token are counted for the sender's
 * address.
 */
export const hooksRoutes = new Hono<AppEnv>();

hooksRoutes.post('/runpod/:job/:attempt', async (c) => {
  const job = c.req.param('job');
  const attempt = Number(c.req.param('attempt'));
  if (!(await isTokenForAttempt(c.var.context, 'webhook', job, attempt, c.req.query('token')))) {
    const wait_s = await checkEdgeLimit(c.env, 'bad_key', senderOf(c));
    return wait_s === null
      ? c.json({ error: 'unauthorized' }, 401)
      : c.json({ error: 'rate_limited' }, 429, { 'retry-after': String(wait_s) });
  }
  await onProviderWebhook(c.var.context, job, attempt, c.req.raw.body);
  // RunPod repeats a webhook that does not get exactly 200.
  return c.json({ received: true }, 200);
});
