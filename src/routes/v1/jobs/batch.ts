import { z } from '@hono/zod-openapi';
import { MAX_BATCH_JOBS, submitBatch, type BatchOutcome } from '../../../services/jobs/batch.ts';
import { faultsOf } from '../../../domain/validation.ts';
import { idempotencyKeySchema } from '../../../domain/idempotency-key.ts';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { invalidRequest } from '../../../domain/problems.ts';
import { fail, ok } from '../../../domain/result.ts';
import { problemBody, statusOf } from '../../http/problem.ts';
import { refuse } from '../../http/body.ts';
import { idempotencyKey, idempotencyKeyHeader } from '../idempotency.ts';
import { renderJob } from '../render.ts';
import { batchSchema, type ApiBatchItem } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App, type V1Context } from '../v1-app.ts';
import { withJobBody } from './body.ts';

/** Only the list itself: each job in it is checked by itself, so that a fault of one touches no other. */
const envelope = z.strictObject({ jobs: z.array(z.unknown()).min(1).max(MAX_BATCH_JOBS) });

const described = z.strictObject({
  jobs: z
    .array(jobRequestSchema.extend({ idempotency_key: idempotencyKeySchema.optional() }))
    .min(1)
    .max(MAX_BATCH_JOBS),
});

/**
 * `POST /v1/jobs/batch`: several jobs in one request, each taken or refused as a submit of its own would be. 200 with an outcome per
 * job, in their order.
 */
export function registerSubmitBatch(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/jobs/batch',
    operationId: 'submitJobs',
    summary: 'Submit several workflows',
    request: {
      headers: z.object({ 'idempotency-key': idempotencyKeyHeader }),
      body: { required: true, content: { 'application/json': { schema: described } } },
    },
    responses: { 200: jsonAnswer('What became of each job, in their order', batchSchema) },
  });
  app.post('/jobs/batch', async (c) => {
    const key = idempotencyKey(c);
    if (!key.ok) {
      return refuse(c, key.problem);
    }
    const { core, caller } = c.var;
    const submitted = await withJobBody(c, 'batch', async ({ value, files }) => {
      const parsed = envelope.safeParse(value);
      return parsed.success
        ? ok(await submitBatch(core, caller, { jobs: parsed.data.jobs, files }, key.value, c.var.standing))
        : fail(invalidRequest(faultsOf(parsed.error)));
    });
    if (!submitted.ok) {
      return refuse(c, submitted.problem);
    }
    const outcomes = submitted.value;
    // They were admitted in their order: the last that asked knows what is left.
    c.set('quota', outcomes.map(quotaOf).findLast((quota) => quota !== null) ?? undefined);
    const data = outcomes.map((outcome) => renderOutcome(c, outcome));
    const accepted = outcomes.filter((outcome) => outcome.ok).length;
    return c.json({ object: 'job_batch', accepted, refused: outcomes.length - accepted, data });
  });
}

const quotaOf = (outcome: BatchOutcome) => (outcome.ok ? outcome.value.quota : (outcome.problem.quota ?? null));

function renderOutcome(c: V1Context, outcome: BatchOutcome): ApiBatchItem {
  if (outcome.ok) {
    const { job, replayed } = outcome.value;
    return { status: 201, replayed, job: renderJob(job, c.var.core.config.publicUrl) };
  }
  const { code, retryAfterS = null, ...rest } = outcome.problem;
  return { status: statusOf(code), problem: problemBody(c, code, rest), retry_after: retryAfterS };
}
