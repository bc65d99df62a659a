import { DurableObject } from 'cloudflare:workers';
import { requireConfig } from '../../config.ts';
import type { Admission } from '../../contract/new-job.ts';
import type { Env } from '../../env.ts';

/** Width of the window that submits are counted in. */
const WINDOW_S = 60;
/** What a client that waits for a place is told: jobs end at any time, so there is no true number. */
const RETRY_WHEN_FULL_S = 5;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS in_flight (job TEXT PRIMARY KEY, expires_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS submits (window_start INTEGER PRIMARY KEY, count INTEGER NOT NULL);
`;

/**
 * One object per account: decides whether a job may start. A decision is one call and one transaction, so parallel
 * submits can never pass a limit together. State is in SQLite, not on the heap: a restart must not forget who is in.
 */
export class Account extends DurableObject<Env> {
  private readonly sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(SCHEMA);
  }

  /**
   * Counts the job in, or says which limit is full. Asking again for a job that is in answers the same and counts nothing.
   * @param request.expires_at ms since the epoch; when the place is given back even if nobody releases it
   */
  admit(request: { job: string; expires_at: number }): Admission {
    const { limits } = requireConfig(this.env);
    const now = Date.now();
    this.sql.exec('DELETE FROM in_flight WHERE expires_at <= ?', now);
    if (this.sql.exec('SELECT 1 FROM in_flight WHERE job = ?', request.job).toArray().length > 0) {
      return { admitted: true };
    }
    const windowStart = Math.floor(now / 1000 / WINDOW_S) * WINDOW_S;
    this.sql.exec('DELETE FROM submits WHERE window_start < ?', windowStart);
    const submits = count(this.sql, 'SELECT coalesce(sum(count), 0) AS n FROM submits');
    if (submits >= limits.submits_per_minute) {
      return {
        admitted: false,
        code: 'rate_limited',
        limit: limits.submits_per_minute,
        window_s: WINDOW_S,
        retry_after_s: Math.max(1, Math.ceil(windowStart + WINDOW_S - now / 1000)),
      };
    }
    if (count(this.sql, 'SELECT count(*) AS n FROM in_flight') >= limits.jobs_in_flight) {
      return {
        admitted: false,
        code: 'too_many_jobs',
        limit: limits.jobs_in_flight,
        window_s: null,
        retry_after_s: RETRY_WHEN_FULL_S,
      };
    }
    this.sql.exec(
      'INSERT INTO submits (window_start, count) VALUES (?, 1) ON CONFLICT (window_start) DO UPDATE SET count = count + 1',
      windowStart,
    );
    this.sql.exec('INSERT INTO in_flight (job, expires_at) VALUES (?, ?)', request.job, request.expires_at);
    return { admitted: true };
  }

  /** Gives a job's place back. Repeating it does nothing. */
  release(job: string): void {
    this.sql.exec('DELETE FROM in_flight WHERE job = ?', job);
  }
}

const count = (sql: SqlStorage, query: string): number => sql.exec<{ n: number }>(query).one().n;
