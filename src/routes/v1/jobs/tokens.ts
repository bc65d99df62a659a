import { z } from '@hono/zod-openapi';
import { iso } from '../../../lib/time.ts';
import { createReadToken, readTokenRequestSchema } from '../../../services/auth/read-token.ts';
import { READ_TOKEN } from '../examples.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';

const readTokenSchema = z
  .object({
    object: z.literal('read_token'),
    token: z.string(),
    job: z.uuid(),
    expires_at: z.iso.datetime({ precision: 3 }),
    urls: z.object({ self: z.url(), events: z.url() }),
  })
  .openapi('ReadToken');

/**
 * `POST /v1/jobs/{id}/tokens`: a token that shows one job to a browser. `urls.events` has it in the query, for
 * EventSource.
 */
const createToken = defineRoute({
  method: 'post',
  path: '/jobs/{id}/tokens',
  access: { scope: 'jobs:read' },
  operationId: 'createReadToken',
  summary: 'Create a read token for a browser',
  params: idParams,
  body: jsonBody(readTokenRequestSchema, { optional: true, example: { expires_in: 600 } }),
  responses: { 201: jsonResponse('The token', readTokenSchema, { example: READ_TOKEN }) },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const job = c.req.param('id');
    const created = await createReadToken(context, caller, c.var.secret, job, body);
    if (!created.ok) {
      return created;
    }
    const { token, expires_at } = created.value;
    const self = `${context.config.publicUrl}/v1/jobs/${job}`;
    const response: z.infer<typeof readTokenSchema> = {
      object: 'read_token',
      token,
      job,
      expires_at: iso(expires_at),
      urls: { self, events: `${self}/events?token=${token}` },
    };
    return c.json(response, 201, { 'cache-control': 'no-store' });
  },
});

export const tokenRoutes: readonly Route[] = [createToken];
