import { createWebhook } from '../../../services/webhooks/manage.ts';
import { newWebhookSchema } from '../../../services/webhooks/request.ts';
import { WEBHOOK } from '../examples.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { renderWebhook } from './render.ts';
import { webhookWithSecretSchema } from './schemas.ts';

/** `POST /v1/webhooks`: creates a webhook. Its secret is shown only here. */
const create = defineRoute({
  method: 'post',
  path: '/webhooks',
  access: { scope: 'webhooks:write' },
  operationId: 'createWebhook',
  summary: 'Create a webhook',
  body: jsonBody(newWebhookSchema, { example: WEBHOOK }),
  responses: {
    201: jsonResponse('The webhook and its secret, shown once', webhookWithSecretSchema, { headers: ['Location'] }),
  },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const created = await createWebhook(context, caller, body);
    if (!created.ok) {
      return created;
    }
    const { webhook, secret } = created.value;
    return c.json({ ...renderWebhook(webhook), secret }, 201, {
      'cache-control': 'no-store',
      location: `${context.config.publicUrl}/v1/webhooks/${webhook.id}`,
    });
  },
});

export const createWebhookRoutes: readonly Route[] = [create];
