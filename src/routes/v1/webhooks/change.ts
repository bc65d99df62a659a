import { z } from '@hono/zod-openapi';
import { removeWebhook, rotateSecret, updateWebhook } from '../../../services/webhooks/manage.ts';
import { rotationSchema, webhookChangeSchema } from '../../../services/webhooks/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, readOptionalJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { renderWebhook } from './render.ts';
import { webhookSchema, webhookWithSecretSchema } from './schemas.ts';

const params = z.object({ id: z.uuid() });

/** `PATCH` and `DELETE /v1/webhooks/{id}`, and `POST /v1/webhooks/{id}/rotate`. */
export function registerChangeWebhook(app: V1App): void {
  describeRoute(app, {
    method: 'patch',
    path: '/webhooks/{id}',
    operationId: 'updateWebhook',
    summary: 'Change a webhook, or turn it on or off',
    request: { params, body: { required: true, content: { 'application/json': { schema: webhookChangeSchema } } } },
    responses: { 200: jsonAnswer('The webhook', webhookSchema) },
  });
  app.patch('/webhooks/:id', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const changed = await updateWebhook(core, caller, c.req.param('id'), body.value);
    return changed.ok ? c.json(renderWebhook(changed.value)) : coreProblem(c, changed.problem);
  });

  describeRoute(app, {
    method: 'post',
    path: '/webhooks/{id}/rotate',
    operationId: 'rotateWebhookSecret',
    summary: 'Give a webhook a new secret',
    request: { params, body: { content: { 'application/json': { schema: rotationSchema } } } },
    responses: {
      200: jsonAnswer('The webhook and its new secret, shown once', webhookWithSecretSchema),
    },
  });
  app.post('/webhooks/:id/rotate', async (c) => {
    const body = await readOptionalJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const rotated = await rotateSecret(core, caller, c.req.param('id'), body.value);
    if (!rotated.ok) {
      return coreProblem(c, rotated.problem);
    }
    const { webhook, secret } = rotated.value;
    return c.json({ ...renderWebhook(webhook), secret }, 200, { 'cache-control': 'no-store' });
  });

  describeRoute(app, {
    method: 'delete',
    path: '/webhooks/{id}',
    operationId: 'deleteWebhook',
    summary: 'Remove a webhook and its log',
    request: { params },
    responses: { 204: { description: 'It is gone' } },
  });
  app.delete('/webhooks/:id', async (c) => {
    const { core, caller } = c.var;
    const removed = await removeWebhook(core, caller, c.req.param('id'));
    return removed.ok ? c.body(null, 204) : coreProblem(c, removed.problem);
  });
}
