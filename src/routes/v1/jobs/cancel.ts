import { z } from '@hono/zod-openapi';
import { cancelJob } from '../../../services/jobs/cancel.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { redactJob } from '../../../services/jobs/redact-job.ts';
import { coreProblem } from '../../http/problem.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

/**
 * `POST /v1/jobs/{id}/cancel`: asks a job to stop. Idempotent; a job that is over is answered as it is. A key without `jobs:read` is told
 * how the job stands, not what is in it.
 */
export function registerCancelJob(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs/{id}/cancel',
    operationId: 'cancelJob',
    summary: 'Cancel a job',
    request: { params: z.object({ id: z.uuid() }) },
    responses: {
      200: jsonAnswer('The job, canceling or over; without jobs:read only its state and its times', jobSchema),
    },
  });
  app.post('/jobs/:id/cancel', async (c) => {
    const { core, caller } = c.var;
    const canceled = await cancelJob(core, caller, c.req.param('id'));
    if (!canceled.ok) {
      return coreProblem(c, canceled.problem);
    }
    const { publicUrl } = core.config;
    return c.var.may('jobs:read')
      ? c.json(renderJob(canceled.value, publicUrl, await signOutputs(core, canceled.value, null)))
      : c.json(renderJob(redactJob(canceled.value), publicUrl));
  });
}
