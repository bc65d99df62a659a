import type { Idempotency } from '../../contract/admission.ts';

/**
 * Which request came with which `Idempotency-Key`, and the id of the job it was given. The job itself keeps the answer.
 * A key is leased while its request is being worked on, so that a second request with it waits instead of doing the
 * work twice.
 */
export const IDEMPOTENCY_KEYS = `
CREATE TABLE idempotency_keys (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job);
`;

/**
 * How long a key is kept. Published in docs/reference/api.md; Stripe and Comfy API v2 promise the same
 * (reference/http-api.md 1).
 */
export const KEY_LIFE_MS = 24 * 3_600_000;
/** How long a request may take before another one with its key may finish the work. Storing 32 MB takes less. */
export const LEASE_MS = 30_000;
/** How often expired keys are deleted. Each time reads all keys of a day. */
const SWEEP_MS = 3_600_000;

/**
 * What is stored about a key. `free`: nothing. `stale`: the lease of the first request ended, and its outcome is
 * unknown.
 */
export type StoredRequest = { kind: 'free' | 'reused' } | { kind: 'in_flight' | 'stale' | 'done'; job: string };

/** All SQL of the account's idempotency keys. */
export class IdempotencyKeys {
  private readonly sql: SqlStorage;
  private sweepAt = 0;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  find({ key, fingerprint }: Idempotency, now: number): StoredRequest {
    this.sweep(now);
    const row = this.sql
      .exec<{ fingerprint: string; job: string; leased_until: number; done: number }>(
        'SELECT fingerprint, job, leased_until, done FROM idempotency_keys WHERE key = ? AND created_at > ?',
        key,
        now - KEY_LIFE_MS,
      )
      .toArray()[0];
    if (row === undefined) {
      return { kind: 'free' };
    }
    if (row.fingerprint !== fingerprint) {
      return { kind: 'reused' };
    }
    return { kind: row.done === 1 ? 'done' : now < row.leased_until ? 'in_flight' : 'stale', job: row.job };
  }

  private sweep(now: number): void {
    if (now >= this.sweepAt) {
      this.sweepAt = now + SWEEP_MS;
      this.sql.exec('DELETE FROM idempotency_keys WHERE created_at <= ?', now - KEY_LIFE_MS);
    }
  }

  /** Stores a key for a job, and leases it. Returns the lease; a later lease of the key is a different one. */
  acquireLease({ key, fingerprint }: Idempotency, job: string, now: number): number {
    const lease = now + LEASE_MS;
    this.sql.exec(
      // A row that exists is of the same request, which continues under the same job, or it has expired.
      `INSERT INTO idempotency_keys (key, fingerprint, job, created_at, leased_until, done) VALUES (?, ?, ?, ?, ?, 0)
       ON CONFLICT (key) DO UPDATE SET
         created_at = iif(job = excluded.job, created_at, excluded.created_at),
         fingerprint = excluded.fingerprint, job = excluded.job, leased_until = excluded.leased_until, done = 0`,
      key,
      fingerprint,
      job,
      now,
      lease,
    );
    return lease;
  }

  /** Whether a later request with the key has taken this job over from the holder of `lease`. */
  isTakenOver(job: string, lease: number): boolean {
    return (
      this.sql.exec('SELECT 1 FROM idempotency_keys WHERE job = ? AND leased_until <> ?', job, lease).toArray().length >
      0
    );
  }

  /** Deletes the key of a request that did not create its job. */
  delete(job: string): void {
    this.sql.exec('DELETE FROM idempotency_keys WHERE job = ?', job);
  }

  /** Ends the lease of a request that may have created its job. The next request with this key finds out. */
  releaseLease(job: string): void {
    this.sql.exec('UPDATE idempotency_keys SET leased_until = 0 WHERE job = ?', job);
  }

  /** The job has finished, so no request has to continue its work. */
  markDone(job: string): void {
    this.sql.exec('UPDATE idempotency_keys SET done = 1 WHERE job = ?', job);
  }
}
