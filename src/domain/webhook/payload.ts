import { z } from 'zod';
import {
  PING,
  type DeliveryType,
  type JobEventType,
  type JobNotice,
  type WebhookEvent,
} from '../../contract/webhook.ts';

/**
 * Bodies of events: `{type, timestamp, data}`, a job's with `sequence`. `timestamp` is when it happened, not when it is sent. `data`
 * of a job's event is the job as `GET /v1/jobs` lists it: small, with links to what is large.
 */

/** Standard Webhooks asks for payloads below 20 KB, and receivers refuse more (reference/http-api.md section 12). */
export const MAX_BODY_BYTES = 20_000;

/**
 * The event of a job's change of status.
 * @param sequence number of the entry in the job's log: a receiver drops what is lower than what it has seen of the job
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

/** What is left of a job's event once the job is erased: that it happened, to which job. */
const leftSchema = z.object({
  type: z.string(),
  timestamp: z.string(),
  sequence: z.int(),
  data: z.object({ id: z.string(), object: z.literal('job'), status: z.string() }),
});

/** The body of a job's event without what it tells of the job beside id and status. A body that is none of ours is emptied. */
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

/** Asked for by the owner, to see whether the receiver works. */
export const pingEvent = (event: string, webhook: string, at: number): WebhookEvent<typeof PING> =>
  aboutWebhook(`evt_${event}`, PING, at, { id: webhook, object: 'webhook' });

/** Tells the other webhooks of an account that one was turned off. */
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
 * As JSON within the limit. What can be large is left out and named in `omitted`; the job itself, behind `urls.self`, has it. An
 * error's details are as large as a graph's faults, and metadata in six-byte escapes passes the limit by itself.
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
const iso = (ms: number): string => new Date(ms).toISOString();
const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms));
