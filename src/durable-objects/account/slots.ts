import { PRIORITIES, type AdmitRequest } from '../../contract/admission.ts';
import { MAX_COUNTED, placeInLine, type Waiting } from './queue.ts';

/** As the first gateway made it; `SLOTS` takes its place. */
export const PLACES = `
CREATE TABLE places (
  job TEXT PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('in', 'waiting', 'lapsed')),
  priority INTEGER NOT NULL, expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
);
CREATE INDEX places_by_state ON places (state, expires_at);
`;

/**
 * One row per job that has a slot or waits for one. A job that nobody released in time expires: it holds no slot any more, and its row
 * stays until its cost is known or nobody will bring it any more. A job that gets a slot at once writes one row and no index.
 */
export const SLOTS = `
CREATE TABLE slots (
  job TEXT PRIMARY KEY, arrival INTEGER NOT NULL, key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'queued', 'expired')), priority INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO slots
  SELECT job, rowid, key, CASE state WHEN 'in' THEN 'active' WHEN 'waiting' THEN 'queued' ELSE 'expired' END,
    priority, expires_at, gpu_ms, micro_usd
  FROM places;
DROP TABLE places;
CREATE INDEX slots_queued ON slots (priority DESC, arrival) WHERE state = 'queued';
`;

/** A Job object that still has something to release says so within its retention at the latest. */
const FORGET_EXPIRED_MS = 7 * 86_400_000;

export type SlotState = 'active' | 'queued' | 'expired';

/** What all rows come to. Counted once per instance and kept true from then on: a submit reads no row but its own. */
type Totals = {
  active: number;
  queued: number;
  /** What jobs that are active or queued may cost at most. */
  gpu_ms: number;
  micro_usd: number;
  /** The latest arrival. */
  arrival: number;
  /** No row is to be changed before this time, ms since the epoch: the first slot expires, or the first expired row is forgotten. */
  due_at: number;
};

export class Places {
  private readonly sql: SqlStorage;
  private known: Totals | null = null;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  /** A transaction was undone: what was counted in it does not hold. */
  recount(): void {
    this.known = null;
  }

  /** Takes the slots of jobs whose time is over. */
  expire(now: number): void {
    if (now < this.totals().due_at) {
      return;
    }
    this.sql.exec("UPDATE slots SET state = 'expired' WHERE state IN ('active', 'queued') AND expires_at <= ?", now);
    this.sql.exec("DELETE FROM slots WHERE state = 'expired' AND expires_at <= ?", now - FORGET_EXPIRED_MS);
    this.recount();
  }

  stateOf(job: string): SlotState | null {
    return (
      this.sql.exec<{ state: SlotState }>('SELECT state FROM slots WHERE job = ?', job).toArray()[0]?.state ?? null
    );
  }

  count(state: 'active' | 'queued'): number {
    return this.totals()[state];
  }

  /** Gives a job a slot if one of `slots` is free and nobody waits, else queues it at the end of its class. */
  enter({ job, key, priority, expires_at, reserve }: AdmitRequest, slots: number): void {
    const totals = this.totals();
    const state = totals.queued === 0 && totals.active < slots ? 'active' : 'queued';
    const cost = { gpu_ms: reserve.gpu_ms, micro_usd: reserve.micro_usd ?? 0 };
    this.sql.exec(
      `INSERT OR REPLACE INTO slots (job, arrival, key, state, priority, expires_at, gpu_ms, micro_usd)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      job,
      totals.arrival + 1,
      key,
      state,
      PRIORITIES.indexOf(priority),
      expires_at,
      cost.gpu_ms,
      cost.micro_usd,
    );
    this.add(state, cost, expires_at);
  }

  /** A request goes on with a job that has a slot or waits: it expires no earlier than that request's job would. */
  extend(job: string, expires_at: number): void {
    this.sql.exec('UPDATE slots SET expires_at = max(expires_at, ?) WHERE job = ?', expires_at, job);
  }

  /** A job that exists and has lost its slot waits again. */
  enterAgain(job: string, expires_at: number): void {
    const cost = this.sql
      .exec<{ gpu_ms: number; micro_usd: number }>(
        `INSERT INTO slots (job, arrival, key, state, priority, expires_at, gpu_ms, micro_usd)
         VALUES (?, ?, '', 'queued', ?, ?, 0, 0)
         ON CONFLICT (job) DO UPDATE SET state = 'queued', expires_at = excluded.expires_at
         RETURNING gpu_ms, micro_usd`,
        job,
        this.totals().arrival + 1,
        PRIORITIES.indexOf('normal'),
        expires_at,
      )
      .one();
    this.add('queued', cost, expires_at);
  }

  /**
   * Gives slots away while there are any: the higher class first; within a class the key that has the fewest active jobs; of one key
   * the job that came first. Returns who got one.
   */
  fill(slots: number): string[] {
    const admitted: string[] = [];
    const totals = this.totals();
    while (totals.queued > 0 && totals.active < slots) {
      const { job } = this.sql
        .exec<{ job: string }>(
          `WITH busy AS (SELECT key, count(*) AS jobs FROM slots WHERE state = 'active' GROUP BY key)
           SELECT slots.job FROM slots LEFT JOIN busy ON busy.key = slots.key WHERE slots.state = 'queued'
           ORDER BY slots.priority DESC, coalesce(busy.jobs, 0), slots.arrival LIMIT 1`,
        )
        .one();
      this.sql.exec("UPDATE slots SET state = 'active' WHERE job = ?", job);
      totals.queued -= 1;
      totals.active += 1;
      admitted.push(job);
    }
    return admitted;
  }

  /** A waiting job's place in the queue, from 1; null when it does not wait, or the queue is too long to be counted. */
  placeOf(job: string): number | null {
    if (this.totals().queued > MAX_COUNTED || this.stateOf(job) !== 'queued') {
      return null;
    }
    const queue = this.sql
      .exec<Waiting>("SELECT job, key, priority FROM slots WHERE state = 'queued' ORDER BY arrival")
      .toArray();
    const active = this.sql
      .exec<{ key: string; n: number }>("SELECT key, count(*) AS n FROM slots WHERE state = 'active' GROUP BY key")
      .toArray();
    return placeInLine(queue, new Map(active.map(({ key, n }) => [key, n])), job);
  }

  /** What the jobs that are active or queued may cost at most. */
  reserved(): { gpu_ms: number; micro_usd: number } {
    const { gpu_ms, micro_usd } = this.totals();
    return { gpu_ms, micro_usd };
  }

  /** Nobody knows whether the job exists: it holds no slot, and its cost is taken if it comes. */
  giveUp(job: string): void {
    this.sql.exec("UPDATE slots SET state = 'expired' WHERE job = ?", job);
    this.recount();
  }

  /** Removes a job; false when it was gone already. */
  leave(job: string): boolean {
    const [row] = this.sql
      .exec<{ state: SlotState; gpu_ms: number; micro_usd: number }>(
        'DELETE FROM slots WHERE job = ? RETURNING state, gpu_ms, micro_usd',
        job,
      )
      .toArray();
    if (row !== undefined && row.state !== 'expired' && this.known !== null) {
      this.known[row.state] -= 1;
      this.known.gpu_ms -= row.gpu_ms;
      this.known.micro_usd -= row.micro_usd;
    }
    return row !== undefined;
  }

  private add(state: 'active' | 'queued', cost: { gpu_ms: number; micro_usd: number }, expires_at: number): void {
    const totals = this.totals();
    totals[state] += 1;
    totals.gpu_ms += cost.gpu_ms;
    totals.micro_usd += cost.micro_usd;
    totals.arrival += 1;
    totals.due_at = Math.min(totals.due_at, expires_at);
  }

  private totals(): Totals {
    this.known ??= this.sql
      .exec<Totals>(
        `SELECT count(*) FILTER (WHERE state = 'active') AS active, count(*) FILTER (WHERE state = 'queued') AS queued,
           coalesce(sum(gpu_ms) FILTER (WHERE state <> 'expired'), 0) AS gpu_ms,
           coalesce(sum(micro_usd) FILTER (WHERE state <> 'expired'), 0) AS micro_usd,
           coalesce(max(arrival), 0) AS arrival,
           coalesce(min(CASE state WHEN 'expired' THEN expires_at + ${FORGET_EXPIRED_MS} ELSE expires_at END), 9e15) AS due_at
         FROM slots`,
      )
      .one();
    return this.known;
  }
}
