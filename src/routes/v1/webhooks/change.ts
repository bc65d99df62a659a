import { removeWebhook, rotateSecret, updateWebhook } from '../../../services/webhooks/manage.ts';
import { rotationSchema, webhookChangeSchema } from '../../../services/webhooks/request.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { renderWebhook } from './render.ts';
import { webhookSchema, webhookWithSecretSchema } from './schemas.ts';

const update = defineRoute({
  method: 'patch',
  path: '/webhooks/{id}',
  access: { scope: 'webhooks:write' },
  operationId: 'updateWebhook',
  summary: 'Change, enable or disable a webhook',
  params: idParams,
  body: jsonBody(webhookChangeSchema, { example: { enabled: false } }),
  responses: { 200: jsonResponse('The webhook', webhookSchema) },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const changed = await updateWebhook(context, caller, c.req.param('id'), body);
    return changed.ok ? c.json(renderWebhook(changed.value)) : changed;
  },
});

const rotate = defineRoute({
  method: 'post',
  path: '/webhooks/{id}/rotate',
  access: { scope: 'webhooks:write' },
  operationId: 'rotateWebhookSecret',
  summary: 'Give a webhook a new secret',
  params: idParams,
  body: jsonBody(rotationSchema, { optional: true, example: { overlap: 3600 } }),
  responses: { 200: jsonResponse('The webhook and its new secret, shown once', webhookWithSecretSchema) },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const rotated = await rotateSecret(context, caller, c.req.param('id'), body);
    if (!rotated.ok) {
      return rotated;
    }
    const { webhook, secret } = rotated.value;
    return c.json({ ...renderWebhook(webhook), secret }, 200, { 'cache-control': 'no-store' });
  },
});

const remove = defineRoute({
  method: 'delete',
  path: '/webhooks/{id}',
  access: { scope: 'webhooks:write' },
  operationId: 'deleteWebhook',
  summary: 'Delete a webhook and its log',
  params: idParams,
  responses: { 204: { description: 'The webhook is deleted' } },
  async handle(c) {
    const { context, caller } = c.var;
    const removed = await removeWebhook(context, caller, c.req.param('id'));
    return removed.ok ? c.body(null, 204) : removed;
  },
});

/** `PATCH` and `DELETE /v1/webhooks/{id}`, and `POST /v1/webhooks/{id}/rotate`. */
export const changeWebhookRoutes: readonly Route[] = [update, rotate, remove];
