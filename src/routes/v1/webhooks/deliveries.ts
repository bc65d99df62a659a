import { z } from '@hono/zod-openapi';
import { DELIVERY_STATUSES } from '../../../contract/webhook.ts';
import {
  getDelivery,
  listDeliveries,
  pingWebhook,
  redeliver,
  redeliverRange,
} from '../../../services/webhooks/deliver.ts';
import { redeliverySchema } from '../../../services/webhooks/request.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { pageFields, readListQuery } from '../page-query.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { renderDelivery, renderDeliverySummary } from './render.ts';
import { deliveryPageSchema, deliverySchema, redeliveredSchema } from './schemas.ts';

const query = z.object({ ...pageFields, status: z.enum(DELIVERY_STATUSES).optional() });
const params = z.object({ id: z.uuid() });
const deliveryParams = z.object({ id: z.uuid(), delivery: z.string() });

/** `GET /v1/webhooks/{id}/deliveries` and one of them: the log. */
export function registerReadDeliveries(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/webhooks/{id}/deliveries',
    operationId: 'listWebhookDeliveries',
    summary: 'List what a webhook was sent',
    request: { params, query },
    responses: { 200: jsonAnswer('A page of deliveries, newest first', deliveryPageSchema) },
  });
  app.get('/webhooks/:id/deliveries', async (c) => {
    const asked = readListQuery(query, c.req.query());
    if (!asked.ok) {
      return refuse(c, asked.problem);
    }
    const { core, caller } = c.var;
    const { limit, cursor, status = null } = asked.value;
    const page = await listDeliveries(core, caller, c.req.param('id'), { limit, cursor, status });
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { deliveries, next_cursor } = page.value;
    return c.json({ data: deliveries.map(renderDeliverySummary), has_more: next_cursor !== null, next_cursor });
  });

  describeRoute(app, {
    method: 'get',
    path: '/webhooks/{id}/deliveries/{delivery}',
    operationId: 'getWebhookDelivery',
    summary: 'Get one delivery with its body',
    request: { params: deliveryParams },
    responses: { 200: jsonAnswer('The delivery', deliverySchema) },
  });
  app.get('/webhooks/:id/deliveries/:delivery', async (c) => {
    const { core, caller } = c.var;
    const { id, delivery } = c.req.param();
    const found = await getDelivery(core, caller, id, delivery);
    return found.ok ? c.json(renderDelivery(found.value)) : coreProblem(c, found.problem);
  });
}

/** `POST /v1/webhooks/{id}/ping`, `…/deliveries/{delivery}/redeliver` and `…/redeliver`: what is sent because the owner asks. */
export function registerSendDeliveries(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/webhooks/{id}/ping',
    operationId: 'pingWebhook',
    summary: 'Send a test event',
    problems: [422],
    request: { params },
    responses: { 202: jsonAnswer('The delivery; the log says what came of it', deliverySchema) },
  });
  app.post('/webhooks/:id/ping', async (c) => {
    const { core, caller } = c.var;
    const sent = await pingWebhook(core, caller, c.req.param('id'));
    return sent.ok ? c.json(renderDelivery(sent.value), 202) : coreProblem(c, sent.problem);
  });

  describeRoute(app, {
    method: 'post',
    path: '/webhooks/{id}/deliveries/{delivery}/redeliver',
    operationId: 'redeliverWebhookDelivery',
    summary: 'Send a delivery again',
    problems: [422],
    request: { params: deliveryParams },
    responses: { 202: jsonAnswer('The delivery', deliverySchema) },
  });
  app.post('/webhooks/:id/deliveries/:delivery/redeliver', async (c) => {
    const { core, caller } = c.var;
    const { id, delivery } = c.req.param();
    const sent = await redeliver(core, caller, id, delivery);
    return sent.ok ? c.json(renderDelivery(sent.value), 202) : coreProblem(c, sent.problem);
  });

  describeRoute(app, {
    method: 'post',
    path: '/webhooks/{id}/redeliver',
    operationId: 'redeliverWebhookRange',
    summary: 'Send all deliveries of a time again',
    request: { params, body: { required: true, content: { 'application/json': { schema: redeliverySchema } } } },
    responses: { 202: jsonAnswer('How many are sent again', redeliveredSchema) },
  });
  app.post('/webhooks/:id/redeliver', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const sent = await redeliverRange(core, caller, c.req.param('id'), body.value);
    return sent.ok ? c.json({ redelivered: sent.value }, 202) : coreProblem(c, sent.problem);
  });
}
