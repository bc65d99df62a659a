import { z } from '@hono/zod-openapi';
import { ATTEMPT_OUTCOMES, DELIVERY_STATUSES, DISABLED_REASONS, EVENT_TYPES } from '../../../contract/webhook.ts';
import { pageOf } from '../page.ts';

/** What v1 answers about webhooks. */

const time = z.iso.datetime({ precision: 3 });

export const webhookSchema = z
  .object({
    id: z.uuid(),
    object: z.literal('webhook'),
    url: z.string(),
    description: z.string(),
    events: z.array(z.enum(EVENT_TYPES)),
    enabled: z.boolean(),
    disabled: z.object({ reason: z.enum(DISABLED_REASONS), at: time, detail: z.string() }).nullable(),
    failing_since: time.nullable(),
    held_until: time.nullable(),
    secrets: z.array(z.object({ hint: z.string(), created_at: time, expires_at: time.nullable() })),
    created_at: time,
    updated_at: time,
  })
  .openapi('Webhook');

export const webhookWithSecretSchema = webhookSchema.extend({ secret: z.string() }).openapi('WebhookWithSecret');

export const webhookPageSchema = pageOf(webhookSchema).openapi('WebhookPage');

export const deliverySummarySchema = z
  .object({
    id: z.string(),
    object: z.literal('webhook_delivery'),
    type: z.string(),
    job: z.uuid().nullable(),
    status: z.enum(DELIVERY_STATUSES),
    created_at: time,
    next_attempt_at: time.nullable(),
    attempts: z.array(
      z.object({
        number: z.int(),
        at: time,
        duration_ms: z.number(),
        outcome: z.enum(ATTEMPT_OUTCOMES),
        response_status: z.int().nullable(),
      }),
    ),
  })
  .openapi('WebhookDeliverySummary');

export const deliverySchema = deliverySummarySchema.extend({ body: z.string() }).openapi('WebhookDelivery');

export const deliveryPageSchema = pageOf(deliverySummarySchema).openapi('WebhookDeliveryPage');

export const redeliveredSchema = z.object({ redelivered: z.int() }).openapi('Redelivered');

export type ApiWebhook = z.infer<typeof webhookSchema>;
export type ApiDeliverySummary = z.infer<typeof deliverySummarySchema>;
export type ApiDelivery = z.infer<typeof deliverySchema>;
