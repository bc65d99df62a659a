import { z } from '@hono/zod-openapi';
import { getEndpoint, listEndpoints } from '../../../services/endpoints/list.ts';
import { MAX_REPORT_WAIT_S, REPORT_WAIT_S, REPORTS, workerReport } from '../../../services/endpoints/report.ts';
import { coreProblem, problem } from '../../http/problem.ts';
import { wholeNumber } from '../query-fields.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { endpointListSchema, endpointSchema, renderEndpoint } from './schemas.ts';

const params = z.object({ name: z.string() });
const reportQuery = z.object({
  action: z.enum(REPORTS).default('debug'),
  wait: wholeNumber({ min: 1, max: MAX_REPORT_WAIT_S, default: REPORT_WAIT_S }),
});

/** `GET /v1/endpoints`, `/v1/endpoints/{name}` and `/v1/endpoints/{name}/debug`. */
export function registerEndpoints(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/endpoints',
    operationId: 'listEndpoints',
    summary: 'List the endpoints that the key may use',
    responses: { 200: jsonAnswer('All of them, by name', endpointListSchema) },
  });
  app.get('/endpoints', async (c) => {
    const { core, caller } = c.var;
    return c.json({ object: 'list', data: (await listEndpoints(core, caller)).map(renderEndpoint) });
  });

  describeRoute(app, {
    method: 'get',
    path: '/endpoints/{name}',
    operationId: 'getEndpoint',
    summary: 'Get an endpoint: its workers, its queue, whether runs are sent to it',
    request: { params },
    responses: { 200: jsonAnswer('The endpoint', endpointSchema) },
  });
  app.get('/endpoints/:name', async (c) => {
    const { core, caller } = c.var;
    const found = await getEndpoint(core, caller, c.req.param('name'));
    return found.ok ? c.json(renderEndpoint(found.value)) : coreProblem(c, found.problem);
  });

  describeRoute(app, {
    method: 'get',
    path: '/endpoints/{name}/debug',
    operationId: 'debugEndpoint',
    summary: 'Have a worker of the endpoint report on itself (operator)',
    request: { params, query: reportQuery },
    responses: { 200: jsonAnswer('What the worker says, as it says it', z.unknown()) },
    problems: [504],
  });
  app.get('/endpoints/:name/debug', async (c) => {
    const asked = reportQuery.safeParse(c.req.query());
    if (!asked.success) {
      const detail = `action is one of ${REPORTS.join(', ')}; wait takes 1 to ${MAX_REPORT_WAIT_S} seconds`;
      return problem(c, 'invalid_parameter', { detail });
    }
    const { core, actor } = c.var;
    const report = await workerReport(core, actor, c.req.param('name'), asked.data.action, asked.data.wait);
    return report.ok
      ? c.body(JSON.stringify(report.value), 200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      : coreProblem(c, report.problem);
  });
}
