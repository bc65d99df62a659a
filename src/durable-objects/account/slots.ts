import { PRIORITIES, type AdmitRequest } from '../../contract/admission.ts';
import { MAX_COUNTED, queuePosition, type QueuedJob } from './queue.ts';

/**
 * One row per job that has a slot or is queued for one. A job that was not released in time is `expired`: it has no
 * slot, and its row is kept for its cost until `FORGET_EXPIRED_MS` after. A job that gets a slot at once writes one row
 * and no index.
 */
export const SLOTS = `
CREATE TABLE slots (
  job TEXT PRIMARY KEY, arrival INTEGER NOT NULL, key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'queued', 'expired')), priority INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX slots_queued ON slots (priority DESC, arrival) WHERE state = 'queued';
`;

/** A Job object releases its slot within its retention at the latest. */
const FORGET_EXPIRED_MS = 7 * 86_400_000;

export type SlotState = 'active' | 'queued' | 'expired';

/** Totals over all rows. Counted once per instance and then updated, so a submit reads no row but its own. */
type Totals = {
  active: number;
  queued: number;
  /** The highest cost of the active and queued jobs. */
  gpu_ms: number;
  micro_usd: number;
  /** The latest arrival. */
  arrival: number;
  /** When the first slot expires or the first expired row is deleted. ms since the epoch. */
  due_at: number;
};

/** All SQL of the account's slots. */
export class Slots {
  private readonly sql: SqlStorage;
  private known: Totals | null = null;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  /** Counts again, after a transaction was rolled back. */
  recount(): void {
    this.known = null;
  }

  /** Frees the slots of jobs that have expired. */
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

  /**
   * Gives a job a slot if one of `slots` is free and no job is queued, else queues it at the end of its priority class.
   */
  enqueue({ job, key, priority, expires_at, reserve }: AdmitRequest, slots: number): void {
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

  /** Extends the expiry of a job that a repeated request continues. */
  extend(job: string, expires_at: number): void {
    this.sql.exec('UPDATE slots SET expires_at = max(expires_at, ?) WHERE job = ?', expires_at, job);
  }

  /** Queues a job that exists and has lost its slot. */
  requeue(job: string, expires_at: number): void {
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
   * Gives the free slots to queued jobs: the higher priority class first, within a class the key with the fewest active
   * jobs, of one key the job that arrived first. Returns the jobs that got a slot.
   */
  promote(slots: number): string[] {
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

  /** A job's position in the queue, from 1; null when it is not queued, or the queue has over `MAX_COUNTED` jobs. */
  queuePosition(job: string): number | null {
    if (this.totals().queued > MAX_COUNTED || this.stateOf(job) !== 'queued') {
      return null;
    }
    const queue = this.sql
      .exec<QueuedJob>("SELECT job, key, priority FROM slots WHERE state = 'queued' ORDER BY arrival")
      .toArray();
    const active = this.sql
      .exec<{ key: string; n: number }>("SELECT key, count(*) AS n FROM slots WHERE state = 'active' GROUP BY key")
      .toArray();
    return queuePosition(queue, new Map(active.map(({ key, n }) => [key, n])), job);
  }

  /** The highest cost of the active and queued jobs together. */
  reserved(): { gpu_ms: number; micro_usd: number } {
    const { gpu_ms, micro_usd } = this.totals();
    return { gpu_ms, micro_usd };
  }

  /** Frees the slot of a job that may not exist. If it does, its cost is still counted when it is released. */
  markExpired(job: string): void {
    this.sql.exec("UPDATE slots SET state = 'expired' WHERE job = ?", job);
    this.recount();
  }

  /** Removes a job. False when it was not there. */
  remove(job: string): boolean {
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
