import { createWebhook } from '../../../services/webhooks/manage.ts';
import { newWebhookSchema } from '../../../services/webhooks/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { renderWebhook } from './render.ts';
import { webhookWithSecretSchema } from './schemas.ts';

/** `POST /v1/webhooks`: makes a webhook. Its secret is shown this once. */
export function registerCreateWebhook(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/webhooks',
    operationId: 'createWebhook',
    summary: 'Make a webhook',
    request: { body: { required: true, content: { 'application/json': { schema: newWebhookSchema } } } },
    responses: { 201: jsonAnswer('The webhook and its secret, shown once', webhookWithSecretSchema, 'Location') },
  });
  app.post('/webhooks', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const created = await createWebhook(core, caller, body.value);
    if (!created.ok) {
      return coreProblem(c, created.problem);
    }
    const { webhook, secret } = created.value;
    return c.json({ ...renderWebhook(webhook), secret }, 201, {
      'cache-control': 'no-store',
      location: `${core.config.publicUrl}/v1/webhooks/${webhook.id}`,
    });
  });
}
