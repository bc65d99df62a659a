import { jobRequestSchema } from '../../../core/jobs/request.ts';
import { submitJob } from '../../../core/jobs/submit.ts';
import { coreProblem } from '../../problem.ts';
import { readJsonBody, refuse } from '../body.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, problemAnswer, type V1App } from '../v1-app.ts';

/** `POST /v1/jobs`: takes a job. 201 with `Location`; the job exists durably by then. */
export function registerSubmitJob(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs',
    operationId: 'submitJob',
    summary: 'Submit a workflow',
    request: { body: { required: true, content: { 'application/json': { schema: jobRequestSchema } } } },
    responses: { 201: jsonAnswer('The job, queued', jobSchema), ...problemAnswer },
  });
  app.post('/jobs', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const submitted = await submitJob(core, caller, body.value);
    if (!submitted.ok) {
      return coreProblem(c, submitted.problem);
    }
    const job = renderJob(submitted.value, core.config.publicUrl);
    return c.json(job, 201, { location: job.urls.self });
  });
}
