import { STATUSES, TERMINAL_STATUSES, type JobError, type Status } from './job.ts';

/**
 * The words of webhooks. A *webhook* is a URL of an account with secrets and a filter; a *delivery* is one event on its
 * way to one webhook; an *attempt* of a delivery is one POST.
 */

/** A job that changed its status. */
export const JOB_EVENT_TYPES = STATUSES.map((status) => `job.${status}` as const);
export type JobEventType = `job.${Status}`;

/**
 * Event types that a webhook can subscribe to. `webhook.disabled`: the gateway disabled another webhook of the account.
 */
export const EVENT_TYPES = [...JOB_EVENT_TYPES, 'webhook.disabled'] as const;
export type WebhookEventType = (typeof EVENT_TYPES)[number];

/** The event types of a webhook without a filter: the terminal statuses of jobs. */
export const DEFAULT_EVENT_TYPES: readonly WebhookEventType[] = TERMINAL_STATUSES.map(
  (status) => `job.${status}` as const,
);

/** Sent only on request, for every filter. */
export const PING = 'webhook.ping';
export type DeliveryType = WebhookEventType | typeof PING;

/** An event for a webhook's object. It is made once, so its id and its body are the same in every delivery. */
export type WebhookEvent<Type extends DeliveryType = DeliveryType> = {
  /** The same in every attempt. It does not contain a dot, because the signature covers `id.timestamp.body`. */
  id: string;
  type: Type;
  /** The job of the event; null for an event about a webhook itself, such as a ping. */
  job: string | null;
  /** JSON text. */
  body: string;
};

/** Why a webhook is disabled: by its owner, after a 410, or after days of failures only. */
export const DISABLED_REASONS = ['owner', 'gone', 'failing'] as const;
export type DisabledReason = (typeof DISABLED_REASONS)[number];

/** A webhook as services return it. Times are ms since the epoch. */
export type WebhookView = {
  id: string;
  account: string;
  url: string;
  description: string;
  events: WebhookEventType[];
  enabled: boolean;
  disabled: { reason: DisabledReason; at: number; detail: string } | null;
  /** The start of the current series of failures; null after a success. */
  failing_since: number | null;
  /** No attempt is made before this time, because the receiver asked for a pause. */
  held_until: number | null;
  /** The signing secrets, newest first, by their last characters only. */
  secrets: { hint: string; created_at: number; expires_at: number | null }[];
  created_at: number;
  updated_at: number;
};

export type NewWebhook = Pick<WebhookView, 'id' | 'account' | 'url' | 'description' | 'events' | 'enabled'> & {
  secret: string;
};

/** What is undefined stays as it is. */
export type WebhookChange = {
  [Field in 'url' | 'description' | 'events' | 'enabled']?: WebhookView[Field] | undefined;
};

/** Why a call was refused. A number: too many calls; milliseconds until the next one is accepted. */
export type WebhookRefusal = 'not_found' | 'disabled' | number;

/**
 * Pings, and calls to send all deliveries of a time again, in an hour. A ping is a row of the log, and pushes another
 * out of it in the end; a call for a time may write every row of it.
 */
export const MAX_SENDS_PER_HOUR = 60;

export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** The outcome of one POST. `rejected`: the response is not a 2xx. */
export const ATTEMPT_OUTCOMES = ['delivered', 'rejected', 'timeout', 'unreachable', 'not_allowed'] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

export type DeliveryAttempt = {
  number: number;
  at: number;
  duration_ms: number;
  outcome: AttemptOutcome;
  /** Status of the response; null without a response. */
  response_status: number | null;
};

export type DeliveryView = {
  id: string;
  type: string;
  job: string | null;
  status: DeliveryStatus;
  created_at: number;
  /** The time of the next attempt; null when there will not be one. */
  next_attempt_at: number | null;
  attempts: DeliveryAttempt[];
  /** The body as JSON text. */
  body: string;
};

/** A job as an event describes it. Times are ms since the epoch. */
export type JobNotice = {
  id: string;
  endpoint: string;
  status: Status;
  attempt: number;
  created_at: number;
  started_at: number | null;
  completed_at: number | null;
  error: JobError | null;
  metadata: Record<string, string>;
};
