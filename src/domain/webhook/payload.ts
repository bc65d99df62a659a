import { z } from 'zod';
import {
  PING,
  type DeliveryType,
  type JobEventType,
  type JobNotice,
  type WebhookEvent,
} from '../../contract/webhook.ts';
import { iso, isoOrNull } from '../../lib/time.ts';

/**
 * Makes the bodies of webhook events: `{type, timestamp, data}`, and `sequence` for job events. `timestamp` is the time
 * of the event, not of the delivery. The `data` of a job event is the job as `GET /v1/jobs` lists it, with links to
 * large parts.
 */

/**
 * Standard Webhooks recommends payloads below 20 KB, and receivers reject larger ones (reference/http-api.md section
 * 12).
 */
export const MAX_BODY_BYTES = 20_000;

/**
 * Makes the event of a job's status change.
 * @param sequence the number of the entry in the job's log. A receiver ignores a number below the last one it has seen.
 */
export function jobEvent(job: JobNotice, sequence: number, at: number, publicUrl: string): WebhookEvent<JobEventType> {
  const type = `job.${job.status}` as const;
  const self = `${publicUrl}/v1/jobs/${job.id}`;
  const data = {
    id: job.id,
    object: 'job',
    status: job.status,
    endpoint: job.endpoint,
    attempt: job.attempt,
    created_at: iso(job.created_at),
    started_at: isoOrNull(job.started_at),
    completed_at: isoOrNull(job.completed_at),
    error: job.error,
    metadata: job.metadata,
    urls: { self, events: `${self}/events`, cancel: `${self}/cancel`, result: `${self}/result` },
  };
  return {
    id: `evt_${job.id}_${sequence}`,
    type,
    job: job.id,
    body: fitting({ type, timestamp: iso(at), sequence, data }),
  };
}

/** The parts of a job event that remain after the job is erased: its type and its job. */
const leftSchema = z.object({
  type: z.string(),
  timestamp: z.string(),
  sequence: z.int(),
  data: z.object({ id: z.string(), object: z.literal('job'), status: z.string() }),
});

/** Reduces the body of a job event to the job's id and status. A body in another form becomes empty. */
export function erasedBody(body: string): string {
  let event: unknown;
  try {
    event = JSON.parse(body);
  } catch {
    return '{}';
  }
  const left = leftSchema.safeParse(event);
  return left.success ? JSON.stringify({ ...left.data, data: { ...left.data.data, erased: true } }) : '{}';
}

/** The event of a test delivery, which the owner requests. */
export const pingEvent = (event: string, webhook: string, at: number): WebhookEvent<typeof PING> =>
  aboutWebhook(`evt_${event}`, PING, at, { id: webhook, object: 'webhook' });

/** Notifies the other webhooks of an account that one was disabled. */
export const disabledEvent = (
  webhook: { id: string; url: string; version: number },
  disabled: { reason: string; detail: string },
  at: number,
): WebhookEvent<'webhook.disabled'> =>
  aboutWebhook(`evt_${webhook.id}_${webhook.version}`, 'webhook.disabled', at, {
    id: webhook.id,
    object: 'webhook',
    url: webhook.url,
    reason: disabled.reason,
    detail: disabled.detail,
  });

const aboutWebhook = <Type extends DeliveryType>(
  id: string,
  type: Type,
  at: number,
  data: Record<string, string>,
): WebhookEvent<Type> => ({
  id,
  type,
  job: null,
  body: JSON.stringify({ type, timestamp: iso(at), data }),
});

type JobBody = {
  type: string;
  timestamp: string;
  sequence: number;
  data: { error: JobNotice['error']; metadata: object };
};

/**
 * Writes the body as JSON within the limit. Large fields are left out and named in `omitted`; the client finds them at
 * `urls.self`. Error details may be large, and metadata written as six-byte escapes exceeds the limit by itself.
 */
function fitting(body: JobBody): string {
  const details = body.data.error?.details === undefined ? [] : ['data.error.details'];
  const lean: JobBody = { ...body, data: { ...body.data, error: withoutDetails(body.data.error) } };
  const bare: JobBody = { ...lean, data: { ...lean.data, metadata: {} } };
  const candidates = [
    JSON.stringify(body),
    JSON.stringify({ ...lean, omitted: details }),
    JSON.stringify({ ...bare, omitted: [...details, 'data.metadata'] }),
  ];
  return (
    candidates.find((text) => bytesOf(text) < MAX_BODY_BYTES) ??
    JSON.stringify({ ...bare, data: { ...bare.data, error: null }, omitted: ['data.error', 'data.metadata'] })
  );
}

function withoutDetails(error: JobNotice['error']): JobNotice['error'] {
  if (error === null) {
    return null;
  }
  const { details: _large, ...rest } = error;
  return rest;
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
