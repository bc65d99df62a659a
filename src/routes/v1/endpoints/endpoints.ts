import { z } from '@hono/zod-openapi';
import { getEndpoint, listEndpoints } from '../../../services/endpoints/list.ts';
import { MAX_REPORT_WAIT_S, REPORT_WAIT_S, REPORTS, workerReport } from '../../../services/endpoints/report.ts';
import { wholeNumber } from '../query-fields.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { endpointListSchema, endpointSchema, renderEndpoint } from './schemas.ts';

const params = z.object({ name: z.string() });

const list = defineRoute({
  method: 'get',
  path: '/endpoints',
  access: { scope: 'jobs:read' },
  operationId: 'listEndpoints',
  summary: 'List the endpoints that the key may use',
  responses: { 200: jsonResponse('All of them, by name', endpointListSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    return c.json({ object: 'list', data: (await listEndpoints(context, caller)).map(renderEndpoint) });
  },
});

const get = defineRoute({
  method: 'get',
  path: '/endpoints/{name}',
  access: { scope: 'jobs:read' },
  operationId: 'getEndpoint',
  summary: 'Get an endpoint: its workers, its queue, whether runs are sent to it',
  params,
  responses: { 200: jsonResponse('The endpoint', endpointSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    const found = await getEndpoint(context, caller, c.req.param('name'));
    return found.ok ? c.json(renderEndpoint(found.value)) : found;
  },
});

const debug = defineRoute({
  method: 'get',
  path: '/endpoints/{name}/debug',
  access: { scope: 'admin', operator: true },
  operationId: 'debugEndpoint',
  summary: 'Ask a worker of the endpoint for a report on itself (operator)',
  params,
  query: z.object({
    action: z.enum(REPORTS).default('debug'),
    wait: wholeNumber({ min: 1, max: MAX_REPORT_WAIT_S, default: REPORT_WAIT_S }),
  }),
  responses: { 200: jsonResponse('The report, as the worker sent it', z.unknown()) },
  refusals: [504],
  async handle(c, { query: { action, wait } }) {
    const { context, actor } = c.var;
    const report = await workerReport(context, actor, c.req.param('name'), action, wait);
    return report.ok
      ? c.body(JSON.stringify(report.value), 200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      : report;
  },
});

/** `GET /v1/endpoints`, `/v1/endpoints/{name}` and `/v1/endpoints/{name}/debug`. */
export const endpointRoutes: readonly Route[] = [list, get, debug];
