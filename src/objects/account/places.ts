import { PRIORITIES, type AdmitRequest } from '../../contract/admission.ts';
import { MAX_COUNTED, placeInLine, type Waiting } from './line.ts';

/**
 * Who is in and who waits. A job that nobody released in time lapses: it holds no place any more, and its line stays until
 * its cost is known or nobody will bring it any more.
 */
export const PLACES = `
CREATE TABLE places (
  job TEXT PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('in', 'waiting', 'lapsed')),
  priority INTEGER NOT NULL, expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
);
CREATE INDEX places_by_state ON places (state, expires_at);
`;

/** A Job object that still has something to release says so within its retention at the latest. */
const FORGET_LAPSED_MS = 7 * 86_400_000;

export type PlaceState = 'in' | 'waiting' | 'lapsed';

export class Places {
  private readonly sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  /** Takes the places of jobs whose time is over. */
  lapse(now: number): void {
    this.sql.exec("UPDATE places SET state = 'lapsed' WHERE state IN ('in', 'waiting') AND expires_at <= ?", now);
    this.sql.exec("DELETE FROM places WHERE state = 'lapsed' AND expires_at <= ?", now - FORGET_LAPSED_MS);
  }

  stateOf(job: string): PlaceState | null {
    return (
      this.sql.exec<{ state: PlaceState }>('SELECT state FROM places WHERE job = ?', job).toArray()[0]?.state ?? null
    );
  }

  count(state: 'in' | 'waiting'): number {
    return this.sql.exec<{ n: number }>('SELECT count(*) AS n FROM places WHERE state = ?', state).one().n;
  }

  /** Lets a job in if one of `places` is free and nobody waits, else puts it at the end of the line of its class. */
  enter(request: AdmitRequest, places: number): void {
    const { job, key, priority, expires_at, reserve } = request;
    const goesIn = this.count('waiting') === 0 && this.count('in') < places;
    this.sql.exec(
      'INSERT OR REPLACE INTO places (job, key, state, priority, expires_at, gpu_ms, micro_usd) VALUES (?, ?, ?, ?, ?, ?, ?)',
      job,
      key,
      goesIn ? 'in' : 'waiting',
      PRIORITIES.indexOf(priority),
      expires_at,
      reserve.gpu_ms,
      reserve.micro_usd ?? 0,
    );
  }

  /** A request goes on with a job that has a place: it lapses no earlier than that request's job would. */
  extend(job: string, expires_at: number): void {
    this.sql.exec('UPDATE places SET expires_at = max(expires_at, ?) WHERE job = ?', expires_at, job);
  }

  /** A job that exists and has lost its place waits again. */
  enterAgain(job: string, expires_at: number): void {
    this.sql.exec(
      `INSERT INTO places (job, key, state, priority, expires_at, gpu_ms, micro_usd) VALUES (?, '', 'waiting', ?, ?, 0, 0)
       ON CONFLICT (job) DO UPDATE SET state = 'waiting', expires_at = excluded.expires_at`,
      job,
      PRIORITIES.indexOf('normal'),
      expires_at,
    );
  }

  /**
   * Lets jobs in while there are places: the higher class first; within a class the key that has the fewest jobs in; of one key the
   * one that came first. Returns who went in.
   */
  fill(places: number): string[] {
    const admitted: string[] = [];
    for (let free = places - this.count('in'); free > 0; free -= 1) {
      const next = this.sql
        .exec<{ job: string }>(
          `SELECT job FROM places AS p WHERE state = 'waiting' ORDER BY priority DESC,
           (SELECT count(*) FROM places AS i WHERE i.state = 'in' AND i.key = p.key), rowid LIMIT 1`,
        )
        .toArray()[0];
      if (next === undefined) {
        break;
      }
      this.sql.exec("UPDATE places SET state = 'in' WHERE job = ?", next.job);
      admitted.push(next.job);
    }
    return admitted;
  }

  /** A waiting job's place in the line, from 1; null when it does not wait, or the line is too long to be counted. */
  placeOf(job: string): number | null {
    if (this.stateOf(job) !== 'waiting' || this.count('waiting') > MAX_COUNTED) {
      return null;
    }
    const line = this.sql
      .exec<Waiting>("SELECT job, key, priority FROM places WHERE state = 'waiting' ORDER BY rowid")
      .toArray();
    const inWork = this.sql
      .exec<{ key: string; n: number }>("SELECT key, count(*) AS n FROM places WHERE state = 'in' GROUP BY key")
      .toArray();
    return placeInLine(line, new Map(inWork.map(({ key, n }) => [key, n])), job);
  }

  /** What the jobs that are in or wait may cost at most. */
  reserved(): { gpu_ms: number; micro_usd: number } {
    return this.sql
      .exec<{ gpu_ms: number; micro_usd: number }>(
        `SELECT coalesce(sum(gpu_ms), 0) AS gpu_ms, coalesce(sum(micro_usd), 0) AS micro_usd FROM places
         WHERE state IN ('in', 'waiting')`,
      )
      .one();
  }

  /** Nobody knows whether the job exists: it holds no place, and its cost is taken if it comes. */
  giveUp(job: string): void {
    this.sql.exec("UPDATE places SET state = 'lapsed' WHERE job = ?", job);
  }

  /** Removes a job; false when it was gone already. */
  leave(job: string): boolean {
    return this.sql.exec('DELETE FROM places WHERE job = ? RETURNING job', job).toArray().length > 0;
  }
}
