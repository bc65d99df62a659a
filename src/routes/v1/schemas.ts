import { z } from '@hono/zod-openapi';
import { ERROR_CODES, ERROR_SOURCES, JOB_ERROR_CODES } from '../../contract/errors.ts';
import { OUTPUT_TYPES, STAGES, STATUSES, WARNING_CODES } from '../../contract/job.ts';
import { pageOf } from './page.ts';

/** The schemas of v1's responses: the types that `render.ts` produces, and the components of the OpenAPI document. */

const time = z.iso.datetime({ precision: 3 });
const url = z.url();

export const jobErrorSchema = z
  .object({
    code: z.enum(JOB_ERROR_CODES),
    message: z.string(),
    at: z.enum(ERROR_SOURCES),
    retryable: z.boolean(),
    attempt: z.int(),
    upstream_id: z.string().optional(),
    node: z.object({ id: z.string(), class_type: z.string() }).optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi('JobError');

/** A union, because a component of the document cannot be nullable. */
const jobErrorOrNull = z.union([jobErrorSchema, z.null()]);

export const outputSchema = z
  .object({
    name: z.string(),
    node_id: z.string(),
    class_type: z.string(),
    type: z.enum(OUTPUT_TYPES),
    content_type: z.string(),
    size_bytes: z.int(),
    sha256: z.string(),
    temp: z.boolean(),
    text: z.string().optional(),
    url,
    /**
     * A URL of the storage that needs no key; null for a text without a file. Responses to reads have it, events do
     * not.
     */
    signed_url: url.nullable().optional(),
    url_expires_at: time.nullable().optional(),
  })
  .openapi('Output');

const progressSchema = z.object({
  value: z.number().min(0).max(1),
  nodes_done: z.int(),
  nodes_total: z.int(),
  current_node: z.string().nullable(),
  current_node_class: z.string().nullable(),
  step: z.number().nullable(),
  steps: z.number().nullable(),
});

const environmentSchema = z
  .object({
    worker_version: z.string(),
    comfyui_version: z.string().nullable(),
    gpu: z.string().nullable(),
    image: z.string().nullable(),
    nodes: z.string().nullable(),
    models: z.array(z.object({ path: z.string(), sha256: z.string() })).nullable(),
    memory_free_bytes: z.int().nullable(),
    disk_free_bytes: z.int().nullable(),
  })
  .describe(
    'What the attempt ran with: versions, hash of the custom nodes, models; bytes free on the worker at its end',
  );

const attemptSchema = z.object({
  number: z.int(),
  endpoint: z.string(),
  status: z.enum(['waiting', 'running', 'succeeded', 'failed', 'canceled', 'lost', 'superseded']),
  created_at: time,
  claimed_at: time.nullable(),
  ended_at: time.nullable(),
  worker: z.string().nullable(),
  environment: environmentSchema.nullable(),
  upstream_id: z.string().nullable(),
  error: jobErrorOrNull,
});

const spot = { node: z.string(), input: z.string() };

export const resolvedSchema = z
  .object({
    seeds: z.array(z.object({ ...spot, value: z.union([z.number(), z.string()]), random: z.boolean() })),
    overrides: z.array(z.object({ field: z.string(), ...spot })),
    clamped: z.array(z.object({ ...spot, from: z.number(), to: z.number(), limit: z.string() })),
    warnings: z.array(
      z.object({
        code: z.enum(WARNING_CODES),
        node: z.string().nullable(),
        input: z.string().nullable(),
        detail: z.string(),
      }),
    ),
  })
  .openapi('Resolved');

const ms = z.number().nullable();

const urlsSchema = z.object({ self: url, events: url, cancel: url, result: url });
const jobUsageSchema = z.object({ billed_seconds: z.number(), cost_usd: z.number().nullable() }).nullable();

export const jobSummarySchema = z
  .object({
    id: z.uuid(),
    object: z.literal('job'),
    status: z.enum(STATUSES),
    endpoint: z.string(),
    created_at: time,
    started_at: time.nullable(),
    completed_at: time.nullable(),
    error: jobErrorOrNull,
    metadata: z.record(z.string(), z.string()),
    urls: urlsSchema,
  })
  .openapi('JobSummary');

export const jobSchema = jobSummarySchema
  .extend({
    stage: z.enum(STAGES).nullable(),
    deadline: time,
    start_deadline: time.nullable(),
    expires_at: time,
    queue_position: z.int().positive().nullable(),
    progress: progressSchema.nullable(),
    outputs: z.array(outputSchema),
    attempts: z.array(attemptSchema),
    resolved: resolvedSchema,
    usage: jobUsageSchema,
    metrics: z.object({ queue_ms: ms, cold_start_ms: ms, execution_ms: ms, upload_ms: ms, total_ms: ms }),
    last_event: z.int(),
    truncated: z.array(z.string()).optional().openapi({
      description:
        'Fields that are left out: because a snapshot event would be too large (`urls.self` has them), or because the key lacks jobs:read',
    }),
  })
  .openapi('Job');

/** The result of a job that succeeded. */
export const jobResultSchema = z
  .object({
    object: z.literal('job_result'),
    id: z.uuid(),
    status: z.literal('succeeded'),
    completed_at: time.nullable(),
    outputs: z.array(outputSchema),
    resolved: resolvedSchema,
    usage: jobUsageSchema,
    metadata: z.record(z.string(), z.string()),
    urls: urlsSchema,
  })
  .openapi('JobResult');

/** A job that has not finished. It does not have `outputs`, because an empty list would look like a result. */
export const jobPendingSchema = z
  .object({
    object: z.literal('job_pending'),
    id: z.uuid(),
    status: z.enum(['queued', 'running', 'canceling']),
    stage: z.enum(STAGES).nullable(),
    queue_position: z.int().positive().nullable(),
    progress: progressSchema.nullable(),
    urls: urlsSchema,
  })
  .openapi('JobPending');

export const dryRunSchema = z
  .object({
    object: z.literal('dry_run'),
    endpoint: z.string(),
    workflow: z.record(z.string(), z.unknown()),
    resolved: resolvedSchema,
    renamed: z.array(z.object({ ...spot, from: z.string(), to: z.string() })),
    nodes: z.object({ count: z.int(), checked: z.boolean() }),
    inputs: z.array(
      z.object({
        name: z.string(),
        asset: z.string().nullable(),
        output: z.string().nullable(),
        url: z.string().nullable(),
        size_bytes: z.int().nullable(),
        content_type: z.string().nullable(),
        used_by: z.array(z.string()),
      }),
    ),
    finish_within: z.number(),
    price: z
      .object({
        currency: z.literal('USD'),
        per_second: z.number(),
        estimated_seconds: z.number().nullable(),
        estimated: z.number().nullable(),
        at_most: z.number(),
      })
      .nullable(),
  })
  .openapi('DryRun');

export const jobPageSchema = pageOf(jobSummarySchema).openapi('JobPage');

export const assetSchema = z
  .object({
    id: z.string(),
    object: z.literal('asset'),
    size_bytes: z.int(),
    content_type: z.string(),
    sha256: z.string(),
    created_at: time,
    expires_at: time,
  })
  .openapi('Asset');

export const assetPageSchema = pageOf(assetSchema).openapi('AssetPage');

export const uploadSchema = z
  .object({
    id: z.uuid(),
    object: z.literal('upload'),
    status: z.enum(['open', 'stored']),
    sha256: z.string(),
    size_bytes: z.int(),
    part_bytes: z.int(),
    received_bytes: z.int(),
    missing_parts: z.int(),
    missing: z.array(z.object({ number: z.int(), offset: z.int(), size_bytes: z.int(), url })),
    urls_expire_at: time.nullable(),
    // A union, because a component of the document cannot be nullable.
    asset: z.union([assetSchema, z.null()]),
    created_at: time,
    expires_at: time,
    urls: z.object({ self: url, complete: url }),
  })
  .openapi('Upload');

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(ERROR_CODES),
    request_id: z.string(),
    errors: z.array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() })).optional(),
    'violated-policies': z.array(z.string()).optional(),
    job: z.object({ id: z.uuid(), status: z.enum(STATUSES), error: jobErrorOrNull }).optional(),
    poll: z.url().optional(),
  })
  .openapi('Problem');

/** A job of a batch: accepted, or refused with the problem of a separate submit. */
const batchItemSchema = z.union([
  z.object({ status: z.literal(201), replayed: z.boolean(), job: jobSchema }),
  z.object({ status: z.int(), problem: problemSchema, retry_after: z.int().nullable() }),
]);

export const batchSchema = z
  .object({
    object: z.literal('job_batch'),
    accepted: z.int(),
    refused: z.int(),
    data: z.array(batchItemSchema),
  })
  .openapi('JobBatch');

export type ApiBatchItem = z.infer<typeof batchItemSchema>;
export type ApiJob = z.infer<typeof jobSchema>;
export type ApiDryRun = z.infer<typeof dryRunSchema>;
export type ApiJobResult = z.infer<typeof jobResultSchema>;
export type ApiJobPending = z.infer<typeof jobPendingSchema>;
export type ApiJobSummary = z.infer<typeof jobSummarySchema>;
export type ApiOutput = z.infer<typeof outputSchema>;
export type ApiAsset = z.infer<typeof assetSchema>;
export type ApiUpload = z.infer<typeof uploadSchema>;
