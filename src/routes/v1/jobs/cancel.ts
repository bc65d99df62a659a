import { cancelJob } from '../../../services/jobs/cancel.ts';
import { redactJob } from '../../../services/jobs/redact-job.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { QUEUED_JOB } from '../examples.ts';
import { idParams } from '../params.ts';
import { renderJob } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { jobSchema } from '../schemas.ts';

/**
 * `POST /v1/jobs/{id}/cancel`: asks a job to stop. Idempotent; a finished job is answered as it is. A key without
 * `jobs:read` gets the job's state, not its content.
 */
const cancel = defineRoute({
  method: 'post',
  path: '/jobs/{id}/cancel',
  access: { scope: 'jobs:write' },
  operationId: 'cancelJob',
  summary: 'Cancel a job',
  params: idParams,
  responses: {
    200: jsonResponse('The job, canceling or finished; without jobs:read only its state and its times', jobSchema, {
      example: { ...QUEUED_JOB, status: 'canceled', stage: null },
    }),
  },
  async handle(c) {
    const { context, caller } = c.var;
    const canceled = await cancelJob(context, caller, c.req.param('id'));
    if (!canceled.ok) {
      return canceled;
    }
    const { publicUrl } = context.config;
    return c.var.hasScope('jobs:read')
      ? c.json(renderJob(canceled.value, publicUrl, await signOutputs(context, canceled.value, null)))
      : c.json(renderJob(redactJob(canceled.value), publicUrl));
  },
});

export const cancelRoutes: readonly Route[] = [cancel];
