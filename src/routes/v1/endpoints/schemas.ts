import { z } from '@hono/zod-openapi';
import { BREAKER_CAUSES, BREAKER_MODES } from '../../../contract/endpoint.ts';
import { WORKERS } from '../../../contract/run.ts';
import { isoOrNull } from '../../../lib/time.ts';
import type { EndpointView } from '../../../services/endpoints/list.ts';

const limit = z.int().nullable();

export const endpointSchema = z
  .object({
    object: z.literal('endpoint'),
    name: z.string(),
    environment: z.enum(['test', 'live', 'any']),
    worker: z.enum(WORKERS),
    breaker: z
      .object({
        state: z.enum(BREAKER_MODES),
        cause: z.enum(BREAKER_CAUSES).nullable(),
        retry_at: z.iso.datetime({ precision: 3 }).nullable(),
      })
      .nullable(),
    workers: z
      .object({
        idle: z.int(),
        initializing: z.int(),
        ready: z.int(),
        running: z.int(),
        throttled: z.int(),
        unhealthy: z.int(),
      })
      .nullable(),
    queue: z.object({ held: z.int().nullable(), queued: z.int().nullable(), running: z.int().nullable() }),
    checked_at: z.iso.datetime({ precision: 3 }).nullable(),
    fallback: z.string().nullable(),
    price: z.object({ per_second: z.number(), typical_seconds: z.number().nullable() }).nullable(),
    limits: z.object({
      max_pixels: limit,
      max_frames: limit,
      max_steps: limit,
      max_batch: limit,
      max_nodes: limit,
      max_workflow_bytes: limit,
      on_limit: z.enum(['refuse', 'clamp']),
    }),
  })
  .openapi('Endpoint');

export const endpointListSchema = z
  .object({ object: z.literal('list'), data: z.array(endpointSchema) })
  .openapi('EndpointList');

/** An endpoint as clients see it. RunPod's id of it is not shown. */
export function renderEndpoint({ name, config, fallback, status }: EndpointView): z.infer<typeof endpointSchema> {
  const { environment, worker, limits, price } = config;
  const health = status?.health ?? null;
  return {
    object: 'endpoint',
    name,
    environment,
    worker,
    breaker: status === null ? null : { state: status.mode, cause: status.cause, retry_at: isoOrNull(status.retry_at) },
    workers: health?.workers ?? null,
    queue: {
      held: status?.waiting ?? null,
      queued: health?.in_queue ?? null,
      running: health?.in_progress ?? null,
    },
    checked_at: isoOrNull(health?.at),
    fallback,
    price:
      price === undefined ? null : { per_second: price.per_second, typical_seconds: price.typical_seconds ?? null },
    limits: {
      max_pixels: limits.max_pixels ?? null,
      max_frames: limits.max_frames ?? null,
      max_steps: limits.max_steps ?? null,
      max_batch: limits.max_batch ?? null,
      max_nodes: limits.max_nodes ?? null,
      max_workflow_bytes: limits.max_workflow_bytes ?? null,
      on_limit: limits.on_limit,
    },
  };
}
