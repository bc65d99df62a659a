import type { Idempotency } from '../../contract/admission.ts';

/**
 * Which request came with which `Idempotency-Key`, and the id its job was given. The answer itself is kept by the job: what a
 * repeated request is told comes from there.
 */
export const REPEATS = `
CREATE TABLE repeats (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, created_at INTEGER NOT NULL,
  leased_until INTEGER NOT NULL, done INTEGER NOT NULL
);
CREATE INDEX repeats_by_age ON repeats (created_at);
CREATE INDEX repeats_by_job ON repeats (job);
`;

/** How long a key is remembered. Published in docs/api.md; Stripe and Comfy API v2 promise the same (reference/http-api.md 1). */
export const KEY_LIFE_MS = 24 * 3_600_000;
/** How long the first request with a key may take before another one may finish its work: longer than storing 32 MB takes. */
export const LEASE_MS = 30_000;

/** What is known of a key. `free`: nothing. `stale`: the first request never said how it ended, and has had its time. */
export type Seen = { kind: 'free' | 'reused' } | { kind: 'in_flight' | 'stale' | 'done'; job: string };

export class Repeats {
  private readonly sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  look({ key, fingerprint }: Idempotency, now: number): Seen {
    this.sql.exec('DELETE FROM repeats WHERE created_at <= ?', now - KEY_LIFE_MS);
    const row = this.sql
      .exec<{ fingerprint: string; job: string; leased_until: number; done: number }>(
        'SELECT fingerprint, job, leased_until, done FROM repeats WHERE key = ?',
        key,
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

  /** Remembers a key for a job, and that its request is being worked on. Answers the lease: a later one of the key is another. */
  hold({ key, fingerprint }: Idempotency, job: string, now: number): number {
    const lease = now + LEASE_MS;
    this.sql.exec(
      `INSERT INTO repeats (key, fingerprint, job, created_at, leased_until, done) VALUES (?, ?, ?, ?, ?, 0)
       ON CONFLICT (key) DO UPDATE SET leased_until = excluded.leased_until`,
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
    return this.sql.exec('SELECT 1 FROM repeats WHERE job = ? AND leased_until <> ?', job, lease).toArray().length > 0;
  }

  /** The request ended before it had made a job: the key is as good as new. */
  free(job: string): void {
    this.sql.exec('DELETE FROM repeats WHERE job = ?', job);
  }

  /** The request ended and may have made its job: the next one with this key finds out. */
  unlease(job: string): void {
    this.sql.exec('UPDATE repeats SET leased_until = 0 WHERE job = ?', job);
  }

  /** The job is over: there is nothing left to do again. */
  finish(job: string): void {
    this.sql.exec('UPDATE repeats SET done = 1 WHERE job = ?', job);
  }
}
