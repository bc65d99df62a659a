import { STATUSES, TERMINAL_STATUSES, type JobError, type Status } from './job.ts';

/**
 * The words of webhooks. A *webhook* is a URL of an account with secrets and a filter; a *delivery* is one event on its way to
 * one webhook; an *attempt* of a delivery is one POST.
 */

/** A job that changed its status. */
export const JOB_EVENT_TYPES = STATUSES.map((status) => `job.${status}` as const);
export type JobEventType = `job.${Status}`;

/** What a webhook may ask for. `webhook.disabled`: another webhook of the account was turned off by the gateway. */
export const EVENT_TYPES = [...JOB_EVENT_TYPES, 'webhook.disabled'] as const;
export type WebhookEventType = (typeof EVENT_TYPES)[number];

/** What a webhook gets that names no filter: the ends of jobs. */
export const DEFAULT_EVENT_TYPES: readonly WebhookEventType[] = TERMINAL_STATUSES.map(
  (status) => `job.${status}` as const,
);

/** Sent only when asked for, whatever the filter. */
export const PING = 'webhook.ping';
export type DeliveryType = WebhookEventType | typeof PING;

/** An event as it is handed to a webhook's object: made once, so its id and its body are the same in every delivery. */
export type WebhookEvent<Type extends DeliveryType = DeliveryType> = {
  /** Constant over all repetitions; holds no dot, since the signature is made over `id.timestamp.body`. */
  id: string;
  type: Type;
  /** The job it is about, if any. */
  job: string | null;
  /** JSON text. */
  body: string;
};

/** Why a webhook is off: its owner said so, it answered 410, or nothing but failures for days. */
export const DISABLED_REASONS = ['owner', 'gone', 'failing'] as const;
export type DisabledReason = (typeof DISABLED_REASONS)[number];

/** A webhook as the core hands it to doors. Times in ms since the epoch. */
export type WebhookView = {
  id: string;
  account: string;
  url: string;
  description: string;
  events: WebhookEventType[];
  enabled: boolean;
  disabled: { reason: DisabledReason; at: number; detail: string } | null;
  /** Since when every attempt failed; null after a success. */
  failing_since: number | null;
  /** Nothing is sent before this: the receiver asked for a pause. */
  held_until: number | null;
  /** Secrets that sign, newest first, by their last characters only. */
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

/** Why a call was refused. A number: too many calls; another is accepted in so many ms. */
export type WebhookRefusal = 'not_found' | 'disabled' | number;

/**
 * Pings, and calls to send all deliveries of a time again, in an hour. A ping is a row of the log, and pushes another out
 * of it in the end; a call for a time may write every row of it.
 */
export const MAX_SENDS_PER_HOUR = 60;

export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** What came of one POST. `rejected`: an answer that is no 2xx. */
export const ATTEMPT_OUTCOMES = ['delivered', 'rejected', 'timeout', 'unreachable', 'not_allowed'] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

export type DeliveryAttempt = {
  number: number;
  at: number;
  duration_ms: number;
  outcome: AttemptOutcome;
  /** Status of the answer; null when there was none. */
  response_status: number | null;
};

export type DeliveryView = {
  id: string;
  type: string;
  job: string | null;
  status: DeliveryStatus;
  created_at: number;
  /** When it is tried next; null when it is over. */
  next_attempt_at: number | null;
  attempts: DeliveryAttempt[];
  /** What is sent, as JSON text. */
  body: string;
};

/** What a job says of itself in an event. Times in ms since the epoch. */
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
