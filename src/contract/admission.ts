import type { InputUse } from './assets.ts';

/** What the core and the Account object say to each other about who may run. Times in ms since the epoch unless named. */

/** Classes of the waiting line: a higher one goes first, always. */
export const PRIORITIES = ['low', 'normal', 'high'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** A job that wants in. */
export type AdmitRequest = {
  job: string;
  /** The account's own name, for what it does later by itself. */
  account: string;
  /** Id of the API key that asks: the line is shared fairly between keys. */
  key: string;
  priority: Priority;
  /** When its place is given back even if nobody releases it. */
  expires_at: number;
  /** What it costs if it runs to its deadline. `micro_usd` is null where the endpoint has no price. */
  reserve: { gpu_ms: number; micro_usd: number | null };
  /** Assets the job will read; they are kept for it from the moment it is let in. */
  inputs: InputUse[];
  /** How long the client wants the finished job kept, in seconds; null: as long as the account's jobs are. */
  retention: number | null;
  idempotency: Idempotency | null;
};

/** The client's `Idempotency-Key`, and a hash of the request it came with. */
export type Idempotency = { key: string; fingerprint: string };

/** The Account object's answer to a submit. */
export type Admission = { quota: Quota } & (
  | {
      kind: 'admitted';
      /** The id to create the job under: the one asked for, or the one an earlier try with the same key was given. */
      job: string;
      /** What `cancelAdmission` is called with; null without an idempotency key. */
      lease: number | null;
      /** The job is to be created, and begins when the account lets it. */
      waits: boolean;
      /** Its place in the line, from 1, if it waits and that is known. */
      queue_position: number | null;
      /** How long the job is kept once it is over. */
      retention_ms: number;
    }
  /** The same request came before. `in_flight`: its job may not exist yet. */
  | { kind: 'known'; job: string; in_flight: boolean }
  /** The idempotency key belongs to another request. */
  | { kind: 'reused' }
  /** Assets that were there a moment ago and are being deleted. */
  | { kind: 'gone'; assets: string[] }
  /** The account may keep `most` bytes, and what the job brings is more than is left. */
  | { kind: 'no_room'; most: number }
  /** The account keeps its jobs for `most` seconds. */
  | { kind: 'kept_too_long'; most: number }
  | { kind: 'refused'; code: RefusalCode; detail: string; retry_after_s: number }
);

/**
 * What is known of an idempotency key without asking to be admitted. `over`: its job is over, so there is no work to finish, whatever
 * has become of the job.
 */
export type StoredAdmission = Admission & ({ kind: 'known'; over: boolean } | { kind: 'reused' });

export const REFUSAL_CODES = ['rate_limited', 'queue_full', 'budget_exceeded'] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** Which policy each refusal names (`violated-policies`). */
export const VIOLATED: Record<RefusalCode, string> = {
  rate_limited: 'submits',
  queue_full: 'queued',
  budget_exceeded: 'budget',
};

/** What is left of each limit that can be counted. `reset_s`: seconds until there is more; null where nobody knows. */
export type Quota = {
  name: string;
  limit: number;
  window_s: number | null;
  unit: 'requests' | 'concurrent-requests';
  remaining: number;
  reset_s: number | null;
}[];

/** The limits that an account may have of its own. Sizes in bytes, times in seconds; meaning: docs/reference/configuration.md. */
export type AccountLimits = {
  jobs_in_flight: number;
  max_queued: number;
  submits_per_minute: number;
  usd_per_day?: number | undefined;
  gpu_seconds_per_day?: number | undefined;
  stored_bytes?: number | undefined;
  retention: number;
  asset_retention: number;
};
/** Those it has; a limit that is not given is as configured. */
export type OwnLimits = { [Name in keyof AccountLimits]?: AccountLimits[Name] | undefined };

/** What a job used in the end. */
export type Used = { gpu_ms: number; micro_usd: number };
