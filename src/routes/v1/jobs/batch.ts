import { z } from '@hono/zod-openapi';
import { errorOf } from '../../../contract/errors.ts';
import { idempotencyKeySchema } from '../../../domain/idempotency-key.ts';
import { invalidRequest } from '../../../domain/problems.ts';
import { fail, ok } from '../../../domain/result.ts';
import { issuesOf } from '../../../domain/validation.ts';
import { MAX_BATCH_JOBS, submitBatch, type BatchOutcome } from '../../../services/jobs/batch.ts';
import { jobRequestSchema } from '../../../services/jobs/request.ts';
import { problemBody } from '../../http/problem.ts';
import { SUBMIT } from '../examples.ts';
import { idempotencyKey, idempotencyKeyHeader } from '../idempotency.ts';
import { renderJob } from '../render.ts';
import { defineRoute, jsonResponse, type Route, type V1Context } from '../route.ts';
import { batchSchema, type ApiBatchItem } from '../schemas.ts';
import { withJobBody } from './body.ts';

/** Only the list itself: each job in it is checked by itself, so that an issue of one does not affect the others. */
const envelope = z.strictObject({ jobs: z.array(z.unknown()).min(1).max(MAX_BATCH_JOBS) });

const requestSchema = z
  .strictObject({
    jobs: z
      .array(jobRequestSchema.extend({ idempotency_key: idempotencyKeySchema.optional() }).openapi('BatchJobRequest'))
      .min(1)
      .max(MAX_BATCH_JOBS),
  })
  .openapi('JobBatchRequest');

/**
 * `POST /v1/jobs/batch`: several jobs in one request, each accepted or refused as a submit of its own would be. 200
 * with an outcome for each job, in their order.
 */
const submitBatchRoute = defineRoute({
  method: 'post',
  path: '/jobs/batch',
  access: { scope: 'jobs:write' },
  operationId: 'submitJobs',
  summary: 'Submit several workflows',
  admission: true,
  headers: z.object({ 'idempotency-key': idempotencyKeyHeader }),
  body: {
    kind: 'streamed',
    content: {
      'application/json': {
        schema: requestSchema,
        example: { jobs: [SUBMIT, { ...SUBMIT, idempotency_key: 'order-4711-2' }] },
      },
    },
  },
  responses: { 200: jsonResponse('The outcome of each job, in their order', batchSchema) },
  async handle(c) {
    const key = idempotencyKey(c);
    if (!key.ok) {
      return key;
    }
    const { context, caller } = c.var;
    const submitted = await withJobBody(c, 'batch', async ({ value, files }) => {
      const parsed = envelope.safeParse(value);
      return parsed.success
        ? ok(await submitBatch(context, caller, { jobs: parsed.data.jobs, files }, key.value, c.var.recheckAuth))
        : fail(invalidRequest(issuesOf(parsed.error)));
    });
    if (!submitted.ok) {
      return submitted;
    }
    const outcomes = submitted.value;
    // The jobs were admitted in order: the last admission has the remaining quota.
    c.set('quota', outcomes.map(quotaOf).findLast((quota) => quota !== null) ?? undefined);
    const data = outcomes.map((outcome) => renderOutcome(c, outcome));
    const accepted = outcomes.filter((outcome) => outcome.ok).length;
    return c.json({ object: 'job_batch', accepted, refused: outcomes.length - accepted, data });
  },
});

export const batchRoutes: readonly Route[] = [submitBatchRoute];

const quotaOf = (outcome: BatchOutcome) => (outcome.ok ? outcome.value.quota : (outcome.problem.quota ?? null));

function renderOutcome(c: V1Context, outcome: BatchOutcome): ApiBatchItem {
  if (outcome.ok) {
    const { job, replayed } = outcome.value;
    return { status: 201, replayed, job: renderJob(job, c.var.context.config.publicUrl) };
  }
  const { code, retryAfterS = null, ...rest } = outcome.problem;
  return { status: errorOf(code).status, problem: problemBody(c, code, rest), retry_after: retryAfterS };
}
