import { z } from '@hono/zod-openapi';
import { createReadToken, readTokenRequestSchema } from '../../../services/auth/read-token.ts';
import { coreProblem } from '../../http/problem.ts';
import { readOptionalJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

const readTokenSchema = z
  .object({
    object: z.literal('read_token'),
    token: z.string(),
    job: z.uuid(),
    expires_at: z.iso.datetime({ precision: 3 }),
    urls: z.object({ self: z.url(), events: z.url() }),
  })
  .openapi('ReadToken');

/** `POST /v1/jobs/{id}/tokens`: a token that shows one job to a browser. `urls.events` has it in the query, for EventSource. */
export function registerCreateReadToken(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs/{id}/tokens',
    operationId: 'createReadToken',
    summary: 'Make a read token for a browser',
    request: {
      params: z.object({ id: z.uuid() }),
      body: { content: { 'application/json': { schema: readTokenRequestSchema } } },
    },
    responses: { 201: jsonAnswer('The token', readTokenSchema) },
  });
  app.post('/jobs/:id/tokens', async (c) => {
    const body = await readOptionalJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const job = c.req.param('id');
    const made = await createReadToken(core, caller, c.var.secret, job, body.value);
    if (!made.ok) {
      return coreProblem(c, made.problem);
    }
    const { token, expires_at } = made.value;
    const self = `${core.config.publicUrl}/v1/jobs/${job}`;
    const answer: z.infer<typeof readTokenSchema> = {
      object: 'read_token',
      token,
      job,
      expires_at: new Date(expires_at).toISOString(),
      urls: { self, events: `${self}/events?token=${token}` },
    };
    return c.json(answer, 201, { 'cache-control': 'no-store' });
  });
}
