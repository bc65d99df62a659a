import { z } from '@hono/zod-openapi';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { LONG_MS } from '../../../services/auth/verify-key.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { submitJob } from '../../../services/jobs/submit.ts';
import { waitAfterSubmit } from '../../../services/jobs/wait.ts';
import { refuse } from '../../http/body.ts';
import { Fingerprint, idempotencyKey, idempotencyKeyHeader } from '../idempotency.ts';
import { withJobBody } from './body.ts';
import { preferredWait } from '../../http/prefer.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

/**
 * `POST /v1/jobs`: takes a job. 201 with `Location`; the job exists durably by then. With an `Idempotency-Key` the same request is
 * answered the same, once made one job however often it comes. `Prefer: wait=n` holds the answer until the job is over, n seconds at
 * most; it is then the job as it is, also when it is a repeated one. That is reading: a key without `jobs:read` is answered at once.
 */
export function registerSubmitJob(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs',
    operationId: 'submitJob',
    summary: 'Submit a workflow',
    problems: [402, 409],
    request: {
      headers: z.object({ 'idempotency-key': idempotencyKeyHeader, prefer: z.string().optional() }),
      body: { required: true, content: { 'application/json': { schema: jobRequestSchema } } },
    },
    responses: {
      201: jsonAnswer(
        'The job, queued; with Prefer: wait as it is then',
        jobSchema,
        'Location',
        'Idempotent-Replayed',
        'Preference-Applied',
      ),
    },
  });
  app.post('/jobs', async (c) => {
    const key = idempotencyKey(c);
    if (!key.ok) {
      return refuse(c, key.problem);
    }
    const { core, caller } = c.var;
    const fingerprint = key.value === null ? undefined : new Fingerprint(c, key.value);
    const submitted = await withJobBody(
      c,
      'job',
      async (body) => {
        const idempotency = (await fingerprint?.idempotency()) ?? null;
        return submitJob(core, caller, body, { idempotency, isStillAuthorized: c.var.standing });
      },
      fingerprint && ((chunk) => fingerprint.add(chunk)),
    );
    if (!submitted.ok) {
      return refuse(c, submitted.problem);
    }
    const { job: taken, replayed, quota } = submitted.value;
    c.set('quota', quota ?? undefined);
    const wait = c.var.may('jobs:read') ? preferredWait(c.req.header('prefer')) : null;
    const begun = core.clock();
    const waited = wait === null ? taken : await waitAfterSubmit(core, caller, taken, wait, c.req.raw.signal);
    // A key that ended meanwhile is told that its job was taken, as it would have been without the wait, and nothing since.
    const view = core.clock() - begun < LONG_MS || (await c.var.stillAllowed('jobs:read')) ? waited : taken;
    // The plain answer is the same whenever it is repeated; one that waited is a reading like any other.
    const links = wait === null ? undefined : await signOutputs(core, view, null);
    const job = renderJob(view, core.config.publicUrl, links);
    return c.json(job, 201, {
      location: job.urls.self,
      ...(wait === null ? {} : { 'preference-applied': `wait=${wait}` }),
      ...(replayed ? { 'idempotent-replayed': 'true' } : {}),
    });
  });
}
