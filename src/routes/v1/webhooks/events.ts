import { z, type RouteConfig } from '@hono/zod-openapi';
import { DISABLED_REASONS, JOB_EVENT_TYPES, PING } from '../../../contract/webhook.ts';
import { jobSummarySchema } from '../schemas.ts';

/** The requests that the gateway sends to webhooks, for the `webhooks` section of the OpenAPI document. */

const time = z.iso.datetime({ precision: 3 });

const jobEventSchema = z
  .object({
    type: z.enum(JOB_EVENT_TYPES),
    timestamp: time.openapi({ description: 'When it happened, not when it was sent' }),
    sequence: z.int().openapi({
      description: 'Number of the event in the job’s log: drop an event with a lower number than the last one',
    }),
    data: z.union([
      jobSummarySchema.extend({ attempt: z.int() }).openapi('JobEventData'),
      z
        .object({
          id: z.string(),
          object: z.literal('job'),
          status: z.string(),
          erased: z.literal(true),
        })
        .openapi('ErasedJobEventData'),
    ]),
    omitted: z
      .array(z.string())
      .optional()
      .openapi({ description: 'Fields that were left out because the body was too large; `urls.self` has them' }),
  })
  .openapi('JobEvent');

const disabledEventSchema = z
  .object({
    type: z.literal('webhook.disabled'),
    timestamp: time,
    data: z.object({
      id: z.uuid(),
      object: z.literal('webhook'),
      url: z.string(),
      reason: z.enum(DISABLED_REASONS),
      detail: z.string(),
    }),
  })
  .openapi('WebhookDisabledEvent');

const pingEventSchema = z
  .object({
    type: z.literal(PING),
    timestamp: time,
    data: z.object({ id: z.uuid(), object: z.literal('webhook') }),
  })
  .openapi('WebhookPingEvent');

/** Standard Webhooks. */
const headers = z.object({
  'webhook-id': z.string().openapi({ description: 'The same in every delivery of the event' }),
  'webhook-timestamp': z.string().openapi({ description: 'Seconds since the epoch' }),
  'webhook-signature': z.string().openapi({ description: 'One "v1,…" for each secret, with a space between them' }),
});

const eventOf = (type: string, schema: z.ZodType, summary: string): RouteConfig => ({
  method: 'post',
  path: type,
  operationId: type.replace(/\.(\w)/, (_, letter: string) => `On${letter.toUpperCase()}`),
  summary,
  tags: ['webhooks'],
  request: { headers, body: { required: true, content: { 'application/json': { schema } } } },
  responses: { '2XX': { description: 'Received. Every other response is retried' } },
});

/** One entry for each type of event. */
export const WEBHOOK_EVENTS: readonly RouteConfig[] = [
  ...JOB_EVENT_TYPES.map((type) => eventOf(type, jobEventSchema, `A job has the status ${type.slice('job.'.length)}`)),
  eventOf('webhook.disabled', disabledEventSchema, 'The gateway disabled another webhook of the account'),
  eventOf(PING, pingEventSchema, 'A test event, sent by POST /webhooks/{id}/ping'),
];
