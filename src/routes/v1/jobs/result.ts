import { jobResult } from '../../../services/jobs/result.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { idParams } from '../params.ts';
import { renderPending, renderResult } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { jobPendingSchema, jobResultSchema } from '../schemas.ts';
import { POLL_INTERVAL_S, waitQuery } from './poll.ts';

/**
 * `GET /v1/jobs/{id}/result`: the outputs of a job that succeeded (200), nothing yet (202 with `Retry-After`), or a
 * problem with the job's error (410: the job ended without a result). `?wait=n` as for the job.
 */
const getResult = defineRoute({
  method: 'get',
  path: '/jobs/{id}/result',
  access: { scope: 'jobs:read', readToken: 'header' },
  operationId: 'getResult',
  summary: 'Get the result of a job',
  params: idParams,
  query: waitQuery,
  responses: {
    200: jsonResponse('The outputs', jobResultSchema),
    202: jsonResponse('The job has not finished', jobPendingSchema, { headers: ['Location', 'Retry-After'] }),
  },
  refusals: [410],
  async handle(c, { query }) {
    const { context, caller } = c.var;
    const found = await jobResult(context, caller, c.req.param('id'), query.wait, c.req.raw.signal);
    c.header('cache-control', 'private, no-cache');
    if (!found.ok) {
      return found;
    }
    const { kind, job } = found.value;
    if (kind === 'ready') {
      return c.json(renderResult(job, context.config.publicUrl, await signOutputs(context, job, c.var.readUntil)));
    }
    const pending = renderPending(job, context.config.publicUrl);
    return c.json(pending, 202, { 'retry-after': String(POLL_INTERVAL_S), location: pending.urls.self });
  },
});

export const resultRoutes: readonly Route[] = [getResult];
