import type { InputUse } from './assets.ts';

/** Messages between the services and the Account object about admission. Times are ms since the epoch, unless named. */

/** Priorities of the queue. A higher one always goes first. */
export const PRIORITIES = ['low', 'normal', 'high'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** A job that asks for admission. */
export type AdmitRequest = {
  job: string;
  /** The account's name, which its object needs for later work. */
  account: string;
  /** Id of the API key that asks. The queue is shared fairly between keys. */
  key: string;
  priority: Priority;
  /** When its slot is released even if no caller releases it. */
  expires_at: number;
  /** The cost if it runs to its deadline. `micro_usd` is null where the endpoint has no price. */
  reserve: { gpu_ms: number; micro_usd: number | null };
  /** Assets that the job reads. They are kept for it from its admission on. */
  inputs: InputUse[];
  /** Seconds to keep the finished job; null is the account's retention. */
  retention: number | null;
  idempotency: Idempotency | null;
};

/** The client's `Idempotency-Key`, and a hash of its request. */
export type Idempotency = { key: string; fingerprint: string };

/** The Account object's answer to a submit. */
export type Admission = { quota: Quota } & (
  | {
      kind: 'admitted';
      /** The id of the job: the requested one, or that of an earlier request with the same key. */
      job: string;
      /** What `cancelAdmission` is called with; null without an idempotency key. */
      lease: number | null;
      /** The job is created now and starts when the account has a slot for it. */
      waits: boolean;
      /** Its position in the queue, from 1; null where it does not wait or the position is unknown. */
      queue_position: number | null;
      /** How long the finished job is kept. */
      retention_ms: number;
    }
  /** The same request came before. `in_flight`: its job may not exist yet. */
  | { kind: 'known'; job: string; in_flight: boolean }
  /** The idempotency key belongs to another request. */
  | { kind: 'reused' }
  /** Assets of the request that are being deleted. */
  | { kind: 'missing'; assets: string[] }
  /** The files of the request would exceed the account's storage limit of `max` bytes. */
  | { kind: 'storage_full'; max: number }
  /** The account keeps its jobs for at most `max` seconds. */
  | { kind: 'retention_too_long'; max: number }
  | { kind: 'refused'; code: RefusalCode; detail: string; retry_after_s: number }
);

/** The stored admission of an idempotency key, read without a new admission. `over`: its job is finished or erased. */
export type StoredAdmission = Admission & ({ kind: 'known'; finished: boolean } | { kind: 'reused' });

export const REFUSAL_CODES = ['rate_limited', 'queue_full', 'budget_exceeded'] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** Which policy each refusal names (`violated-policies`). */
export const VIOLATED: Record<RefusalCode, string> = {
  rate_limited: 'submits',
  queue_full: 'queued',
  budget_exceeded: 'budget',
};

/** The remaining quota of each counted limit. `reset_s`: seconds until it grows; null where that is unknown. */
export type Quota = {
  name: string;
  limit: number;
  window_s: number | null;
  unit: 'requests' | 'concurrent-requests';
  remaining: number;
  reset_s: number | null;
}[];

/** The resources that a job used. */
export type Used = { gpu_ms: number; micro_usd: number };
