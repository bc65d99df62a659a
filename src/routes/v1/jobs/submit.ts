import { z } from '@hono/zod-openapi';
import { LONG_MS } from '../../../services/auth/verify-key.ts';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { signOutputs } from '../../../services/jobs/signed-urls.ts';
import { submitJob } from '../../../services/jobs/submit.ts';
import { waitAfterSubmit } from '../../../services/jobs/wait.ts';
import { preferredWait } from '../../http/prefer.ts';
import { QUEUED_JOB, SUBMIT } from '../examples.ts';
import { Fingerprint, idempotencyKey, idempotencyKeyHeader } from '../idempotency.ts';
import { renderJob } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { jobSchema } from '../schemas.ts';
import { withJobBody } from './body.ts';

/**
 * `POST /v1/jobs`: accepts a job. 201 with `Location`; the job is stored durably by then. With an `Idempotency-Key`,
 * the same request gets the same response and makes one job, however often it is sent. `Prefer: wait=n` holds the
 * response until the job has finished, at most n seconds, and answers with its current state, also for a replay. That
 * is a read: without `jobs:read` the response does not wait.
 */
const submit = defineRoute({
  method: 'post',
  path: '/jobs',
  access: { scope: 'jobs:write' },
  operationId: 'submitJob',
  summary: 'Submit a workflow',
  admission: true,
  headers: z.object({ 'idempotency-key': idempotencyKeyHeader, prefer: z.string().optional() }),
  body: { kind: 'streamed', content: { 'application/json': { schema: jobRequestSchema, example: SUBMIT } } },
  responses: {
    201: jsonResponse('The job, queued; with Prefer: wait as it is then', jobSchema, {
      headers: ['Location', 'Idempotent-Replayed', 'Preference-Applied'],
      example: QUEUED_JOB,
    }),
  },
  refusals: [402, 409],
  async handle(c) {
    const key = idempotencyKey(c);
    if (!key.ok) {
      return key;
    }
    const { context, caller } = c.var;
    const fingerprint = key.value === null ? undefined : new Fingerprint(c, key.value);
    const submitted = await withJobBody(
      c,
      'job',
      async (body) => {
        const idempotency = (await fingerprint?.idempotency()) ?? null;
        return submitJob(context, caller, body, { idempotency, isStillAuthorized: c.var.recheckAuth });
      },
      fingerprint && ((chunk) => fingerprint.add(chunk)),
    );
    if (!submitted.ok) {
      return submitted;
    }
    const { job: accepted, replayed, quota } = submitted.value;
    c.set('quota', quota ?? undefined);
    const wait = c.var.hasScope('jobs:read') ? preferredWait(c.req.header('prefer')) : null;
    const begun = context.clock();
    const waited = wait === null ? accepted : await waitAfterSubmit(context, caller, accepted, wait, c.req.raw.signal);
    // A key that was revoked meanwhile learns that its job was accepted, as it would have without the wait, and nothing
    // since.
    const view = context.clock() - begun < LONG_MS || (await c.var.isStillAuthorized('jobs:read')) ? waited : accepted;
    // The plain response is the same in every replay; a response after a wait is a read like any other.
    const links = wait === null ? undefined : await signOutputs(context, view, null);
    const job = renderJob(view, context.config.publicUrl, links);
    return c.json(job, 201, {
      location: job.urls.self,
      ...(wait === null ? {} : { 'preference-applied': `wait=${wait}` }),
      ...(replayed ? { 'idempotent-replayed': 'true' } : {}),
    });
  },
});

export const submitRoutes: readonly Route[] = [submit];
