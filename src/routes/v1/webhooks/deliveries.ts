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
import { pageFields, renderPage } from '../page.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { renderDelivery, renderDeliverySummary } from './render.ts';
import { deliveryPageSchema, deliverySchema, redeliveredSchema } from './schemas.ts';

const deliveryParams = z.object({ id: z.uuid(), delivery: z.string() });

const list = defineRoute({
  method: 'get',
  path: '/webhooks/{id}/deliveries',
  access: { scope: 'webhooks:read' },
  operationId: 'listWebhookDeliveries',
  summary: 'List the deliveries of a webhook',
  params: idParams,
  query: z.object({ ...pageFields, status: z.enum(DELIVERY_STATUSES).optional() }),
  responses: { 200: jsonResponse('A page of deliveries, newest first', deliveryPageSchema) },
  async handle(c, { query: { limit, cursor = null, status = null } }) {
    const { context, caller } = c.var;
    const page = await listDeliveries(context, caller, c.req.param('id'), { limit, cursor, status });
    return page.ok ? c.json(renderPage(page.value, renderDeliverySummary)) : page;
  },
});

const get = defineRoute({
  method: 'get',
  path: '/webhooks/{id}/deliveries/{delivery}',
  access: { scope: 'webhooks:read' },
  operationId: 'getWebhookDelivery',
  summary: 'Get one delivery with its body',
  params: deliveryParams,
  responses: { 200: jsonResponse('The delivery', deliverySchema) },
  async handle(c) {
    const { context, caller } = c.var;
    const { id, delivery } = c.req.param();
    const found = await getDelivery(context, caller, id, delivery);
    return found.ok ? c.json(renderDelivery(found.value)) : found;
  },
});

const ping = defineRoute({
  method: 'post',
  path: '/webhooks/{id}/ping',
  access: { scope: 'webhooks:write' },
  operationId: 'pingWebhook',
  summary: 'Send a test event',
  params: idParams,
  responses: { 202: jsonResponse('The delivery; the log has its outcome', deliverySchema) },
  refusals: [422],
  async handle(c) {
    const { context, caller } = c.var;
    const sent = await pingWebhook(context, caller, c.req.param('id'));
    return sent.ok ? c.json(renderDelivery(sent.value), 202) : sent;
  },
});

const redeliverOne = defineRoute({
  method: 'post',
  path: '/webhooks/{id}/deliveries/{delivery}/redeliver',
  access: { scope: 'webhooks:write' },
  operationId: 'redeliverWebhookDelivery',
  summary: 'Send a delivery again',
  params: deliveryParams,
  responses: { 202: jsonResponse('The delivery', deliverySchema) },
  refusals: [422],
  async handle(c) {
    const { context, caller } = c.var;
    const { id, delivery } = c.req.param();
    const sent = await redeliver(context, caller, id, delivery);
    return sent.ok ? c.json(renderDelivery(sent.value), 202) : sent;
  },
});

const redeliverMany = defineRoute({
  method: 'post',
  path: '/webhooks/{id}/redeliver',
  access: { scope: 'webhooks:write' },
  operationId: 'redeliverWebhookRange',
  summary: 'Send all deliveries of a period again',
  params: idParams,
  body: jsonBody(redeliverySchema, { example: { since: '2026-11-20T00:00:00Z', status: 'failed' } }),
  responses: { 202: jsonResponse('The number of deliveries that are sent again', redeliveredSchema) },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const sent = await redeliverRange(context, caller, c.req.param('id'), body);
    return sent.ok ? c.json({ redelivered: sent.value }, 202) : sent;
  },
});

/** The log of a webhook's deliveries, and what its owner sends: test events and repeated deliveries. */
export const deliveryRoutes: readonly Route[] = [list, get, ping, redeliverOne, redeliverMany];
