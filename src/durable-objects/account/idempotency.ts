import type { Idempotency } from '../../contract/admission.ts';

/** As the first gateway made it; `IDEMPOTENCY_KEYS` takes its place. */
export const REPEATS = `
CREATE TABLE repeats (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
);
CREATE INDEX repeats_by_age ON repeats (created_at);
CREATE INDEX repeats_by_job ON repeats (job);
`;

/**
 * Which request came with which `Idempotency-Key`, and the id its job was given. The answer itself is kept by the job: what a
 * repeated request is told comes from there.
 */
export const IDEMPOTENCY_KEYS = `
CREATE TABLE idempotency_keys (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO idempotency_keys SELECT key, fingerprint, job, created_at, leased_until, done FROM repeats;
DROP TABLE repeats;
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job);
`;

/** How long a key is remembered. Published in docs/reference/api.md; Stripe and Comfy API v2 promise the same (reference/http-api.md 1). */
export const KEY_LIFE_MS = 24 * 3_600_000;
/** How long the first request with a key may take before another one may finish its work: longer than storing 32 MB takes. */
export const LEASE_MS = 30_000;
/** How often keys that are remembered no longer are deleted: each time all keys of a day are read. */
const SWEEP_MS = 3_600_000;

/** What is known of a key. `free`: nothing. `stale`: the first request never said how it ended, and has had its time. */
export type Seen = { kind: 'free' | 'reused' } | { kind: 'in_flight' | 'stale' | 'done'; job: string };

export class Repeats {
  private readonly sql: SqlStorage;
  private sweepAt = 0;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  look({ key, fingerprint }: Idempotency, now: number): Seen {
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

  /** Remembers a key for a job, and that its request is being worked on. Answers the lease: a later one of the key is another. */
  hold({ key, fingerprint }: Idempotency, job: string, now: number): number {
    const lease = now + LEASE_MS;
    this.sql.exec(
      // One that is there is the same request's, whose work goes on under the same job, or is remembered no longer.
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

  /** Whether a later request with the key works on this job, or has: the holder of `lease` has no say in it any more. */
  isTakenOver(job: string, lease: number): boolean {
    return (
      this.sql.exec('SELECT 1 FROM idempotency_keys WHERE job = ? AND leased_until <> ?', job, lease).toArray().length >
      0
    );
  }

  /** The request ended before it had made a job: the key is as good as new. */
  free(job: string): void {
    this.sql.exec('DELETE FROM idempotency_keys WHERE job = ?', job);
  }

  /** The request ended and may have made its job: the next one with this key finds out. */
  unlease(job: string): void {
    this.sql.exec('UPDATE idempotency_keys SET leased_until = 0 WHERE job = ?', job);
  }

  /** The job is over: there is nothing left to do again. */
  finish(job: string): void {
    this.sql.exec('UPDATE idempotency_keys SET done = 1 WHERE job = ?', job);
  }
}
