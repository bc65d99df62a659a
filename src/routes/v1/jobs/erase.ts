import { z } from '@hono/zod-openapi';
import { eraseJob } from '../../../services/jobs/erase.ts';
import { coreProblem } from '../../http/problem.ts';
import { describeRoute, type V1App } from '../v1-app.ts';

/** `DELETE /v1/jobs/{id}`: erases a job that is over, with its log and outputs. */
export function registerEraseJob(app: V1App): void {
  describeRoute(app, {
    method: 'delete',
    path: '/jobs/{id}',
    operationId: 'eraseJob',
    summary: 'Erase a job',
    problems: [409],
    request: { params: z.object({ id: z.uuid() }) },
    responses: { 204: { description: 'The job is gone' } },
  });
  app.delete('/jobs/:id', async (c) => {
    const erased = await eraseJob(c.var.core, c.var.caller, c.req.param('id'));
    return erased.ok ? c.body(null, 204) : coreProblem(c, erased.problem);
  });
}
