import { z } from '@hono/zod-openapi';
import { getWebhook, listWebhooks } from '../../../services/webhooks/manage.ts';
import { coreProblem } from '../../http/problem.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { renderWebhook } from './render.ts';
import { webhookPageSchema, webhookSchema } from './schemas.ts';

/** `GET /v1/webhooks` and `GET /v1/webhooks/{id}`: what an account has. Secrets are never shown again. */
export function registerReadWebhooks(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/webhooks',
    operationId: 'listWebhooks',
    summary: 'List webhooks',
    responses: { 200: jsonAnswer('All webhooks of the account, newest first', webhookPageSchema) },
  });
  app.get('/webhooks', async (c) => {
    const { core, caller } = c.var;
    const webhooks = await listWebhooks(core, caller);
    // An account has so few that they are one page; the form is that of every list.
    return c.json({ data: webhooks.map(renderWebhook), has_more: false, next_cursor: null });
  });

  describeRoute(app, {
    method: 'get',
    path: '/webhooks/{id}',
    operationId: 'getWebhook',
    summary: 'Get a webhook',
    request: { params: z.object({ id: z.uuid() }) },
    responses: { 200: jsonAnswer('The webhook', webhookSchema) },
  });
  app.get('/webhooks/:id', async (c) => {
    const { core, caller } = c.var;
    const found = await getWebhook(core, caller, c.req.param('id'));
    return found.ok ? c.json(renderWebhook(found.value)) : coreProblem(c, found.problem);
  });
}
