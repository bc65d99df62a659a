import { z } from '@hono/zod-openapi';
import { jobResult } from '../../../services/jobs/result.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { coreProblem, problem } from '../../http/problem.ts';
import { renderPending, renderResult } from '../render.ts';
import { jobPendingSchema, jobResultSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { POLL_AGAIN_S, WAIT_FAULT, waitQuery } from './poll.ts';

/**
 * `GET /v1/jobs/{id}/result`: the outputs of a job that succeeded (200), nothing yet (202 with `Retry-After`), or a problem with the
 * job's error: 410, since there is no result and never will be. `?wait=n` as for the job.
 */
export function registerGetResult(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}/result',
    operationId: 'getResult',
    summary: 'Get the result of a job',
    problems: [410],
    request: { params: z.object({ id: z.uuid() }), query: waitQuery },
    responses: {
      200: jsonAnswer('The outputs', jobResultSchema),
      202: jsonAnswer('The job is not over', jobPendingSchema, 'Location', 'Retry-After'),
    },
  });
  app.get('/jobs/:id/result', async (c) => {
    const { core, caller } = c.var;
    const asked = waitQuery.safeParse(c.req.query());
    if (!asked.success) {
      return problem(c, 'invalid_parameter', { detail: WAIT_FAULT });
    }
    const found = await jobResult(core, caller, c.req.param('id'), asked.data.wait, c.req.raw.signal);
    c.header('cache-control', 'private, no-cache');
    if (!found.ok) {
      return coreProblem(c, found.problem);
    }
    const { kind, job } = found.value;
    if (kind === 'ready') {
      return c.json(renderResult(job, core.config.publicUrl, await signOutputs(core, job, c.var.readUntil)));
    }
    const pending = renderPending(job, core.config.publicUrl);
    return c.json(pending, 202, { 'retry-after': String(POLL_AGAIN_S), location: pending.urls.self });
  });
}
