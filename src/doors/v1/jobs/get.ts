import { z } from '@hono/zod-openapi';
import { getJob } from '../../../core/jobs/get.ts';
import { coreProblem } from '../../problem.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, problemAnswer, type V1App } from '../v1-app.ts';

/** `GET /v1/jobs/{id}`: the job as it is now. */
export function registerGetJob(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}',
    operationId: 'getJob',
    summary: 'Get a job',
    request: { params: z.object({ id: z.uuid() }) },
    responses: { 200: jsonAnswer('The job', jobSchema), ...problemAnswer },
  });
  app.get('/jobs/:id', async (c) => {
    const { core, caller } = c.var;
    const found = await getJob(core, caller, c.req.param('id'));
    return found.ok ? c.json(renderJob(found.value, core.config.publicUrl)) : coreProblem(c, found.problem);
  });
}
