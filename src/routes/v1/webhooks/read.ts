import { getWebhook, listWebhooks } from '../../../services/webhooks/manage.ts';
import { renderPage } from '../page.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { renderWebhook } from './render.ts';
import { webhookPageSchema, webhookSchema } from './schemas.ts';

const list = defineRoute({
  method: 'get',
  path: '/webhooks',
  access: { scope: 'webhooks:read' },
  operationId: 'listWebhooks',
  summary: 'List webhooks',
  responses: { 200: jsonResponse('All webhooks of the account, newest first', webhookPageSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    // `MAX_WEBHOOKS` fit into one page; the form is that of every list.
    return c.json(renderPage({ items: await listWebhooks(context, caller), next_cursor: null }, renderWebhook));
  },
});

const get = defineRoute({
  method: 'get',
  path: '/webhooks/{id}',
  access: { scope: 'webhooks:read' },
  operationId: 'getWebhook',
  summary: 'Get a webhook',
  params: idParams,
  responses: { 200: jsonResponse('The webhook', webhookSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    const found = await getWebhook(context, caller, c.req.param('id'));
    return found.ok ? c.json(renderWebhook(found.value)) : found;
  },
});

/** `GET /v1/webhooks` and `GET /v1/webhooks/{id}`. Secrets are never shown again. */
export const readWebhookRoutes: readonly Route[] = [list, get];
