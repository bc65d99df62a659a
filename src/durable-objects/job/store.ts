import type { EventBody, LogEvent } from '../../contract/events.ts';
import type { JobView } from '../../contract/job.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Effect } from '../../domain/job/signals.ts';
import { currentAttempt, readState, type JobState } from '../../domain/job/state.ts';
import { applySchema, createTables, type Schema } from '../shared/schema.ts';
import { Pending, type PendingEffect } from './pending.ts';
import { readView } from './view.ts';
import { storedJson } from '../../lib/stored-json.ts';

/**
 * All SQL of the Job object. Times are ms since the epoch. Every table is described in docs/reference/storage.md. A row
 * written is most of what a job costs (docs/operations/benchmarks.md), so a transition writes one row: the state, the
 * pending effects, and the end of the log.
 */
const SCHEMA: Schema = [
  `
-- One row, written with every transition. \`state\`: the machine's. \`pending\`: JSON list of pending effects.
-- \`tail\`: JSON list of the events that are not in a chunk yet.
CREATE TABLE job (
  one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL, pending TEXT NOT NULL, tail TEXT NOT NULL
);
-- One row: the graph (JSON text) and the inputs for a claim, and the view of the job that answers a repeated submit.
-- The state has a row, with its limit of 2 MB, to itself.
CREATE TABLE job_spec (
  one INTEGER PRIMARY KEY CHECK (one = 1), workflow TEXT NOT NULL, inputs TEXT NOT NULL, initial_view TEXT NOT NULL
);
`,
];
/**
 * The log before its tail. `events`: JSON list of events up to number `last`. The table is created with the first
 * chunk, which few jobs need.
 */
const CHUNKS = 'CREATE TABLE IF NOT EXISTS chunks (last INTEGER PRIMARY KEY, events TEXT NOT NULL)';

/**
 * The tail of the log becomes a chunk above this, in characters: small beside a row's 2 MB, which the state has most
 * of.
 */
const MAX_TAIL_CHARS = 32 * 1024;

/** What a transition leaves to store beside the new state. */
export type StoredTransition = { events: readonly EventBody[]; effects: readonly Effect[]; now: number };

/** The job in memory and in SQLite. */
export class JobStore {
  private readonly storage: DurableObjectStorage;
  private readonly sql: SqlStorage;
  /** The row of `job`; null when there is no job. Only this instance writes it, so it is read once. */
  private row: { state: JobState; tail: LogEvent[] } | null = null;
  /** Pending effects. */
  pending = new Pending([]);

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
  }

  /** The state, or null when no job was created. Creates nothing, so an object for a made-up id stores nothing. */
  load(): JobState | null {
    if (this.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'job'").toArray().length === 0) {
      return null;
    }
    applySchema(this.storage, SCHEMA);
    const row = this.sql.exec<Record<'state' | 'pending' | 'tail', string>>('SELECT * FROM job').toArray()[0];
    if (row === undefined) {
      return null;
    }
    // Only `write` writes it, as JSON of these types.
    this.pending = new Pending(storedJson<PendingEffect[]>(row.pending));
    this.row = { state: readState(row.state), tail: storedJson<LogEvent[]>(row.tail) };
    return this.row.state;
  }

  /**
   * Stores a new job, its first transition, and `first`, the answer to the submit. Only for an object where `load`
   * returned null. `begin` as in `commit`.
   */
  create(
    job: { state: JobState; workflow: string; inputs: JobInput[]; first: JobView },
    transition: StoredTransition,
    begin: () => void,
  ): void {
    this.transactionOrReload(() => {
      createTables(this.sql, SCHEMA);
      this.sql.exec(
        'INSERT INTO job_spec (one, workflow, inputs, initial_view) VALUES (1, ?, ?, ?)',
        job.workflow,
        JSON.stringify(job.inputs),
        JSON.stringify(job.first),
      );
      this.add(job.state, transition);
      begin();
      this.write();
    });
  }

  /** The answer to the submit. */
  initialView(): JobView {
    // Only `create` writes it, of this release or an older one.
    return readView(this.sql.exec<{ initial_view: string }>('SELECT initial_view FROM job_spec').one().initial_view);
  }

  /** The graph and the inputs for a claim. */
  spec(): { workflow: string; inputs: JobInput[] } {
    const row = this.sql.exec<{ workflow: string; inputs: string }>('SELECT workflow, inputs FROM job_spec').one();
    return { workflow: row.workflow, inputs: storedJson<JobInput[]>(row.inputs) };
  }

  /**
   * Stores one transition: state, events and effects together or not at all. Returns the events with their numbers.
   * @param begin called when the effects are pending and before anything is written, so that the write also stores
   * which effects were begun
   */
  commit(state: JobState, transition: StoredTransition, begin: () => void = () => {}): LogEvent[] {
    const numbered = this.add(state, transition);
    this.transactionOrReload(() => {
      begin();
      this.write();
    });
    return numbered;
  }

  /** Stores the pending effects, if they have changed. */
  flush(): void {
    if (this.pending.changed && this.row !== null) {
      this.transactionOrReload(() => this.write());
    }
  }

  /** Number of the worker's last message that is stored. */
  acked(): number {
    return this.row === null ? 0 : (currentAttempt(this.row.state)?.acked ?? 0);
  }

  /** Events after `id`, oldest first. */
  eventsAfter(id: number): LogEvent[] {
    const tail = this.row?.tail ?? [];
    const beforeTail = (tail[0]?.id ?? (this.row?.state.last_event ?? 0) + 1) - 1;
    // Most watchers need only the tail, which is in memory.
    const chunks =
      beforeTail <= id
        ? []
        : this.sql
            .exec<{ events: string }>('SELECT events FROM chunks WHERE last > ? ORDER BY last', id)
            .toArray()
            .flatMap((row) => storedJson<LogEvent[]>(row.events));
    return [...chunks, ...tail].filter((event) => event.id > id);
  }

  /** Removes the job and all of it. */
  async erase(): Promise<void> {
    await this.storage.deleteAll();
    this.row = null;
    this.pending = new Pending([]);
  }

  /** Adds a transition to the row in memory. */
  private add(state: JobState, { events, effects, now }: StoredTransition): LogEvent[] {
    const first = state.last_event - events.length + 1;
    const numbered = events.map((event, index) => ({ ...event, id: first + index }));
    this.row = { state, tail: [...(this.row?.tail ?? []), ...numbered] };
    for (const effect of effects) {
      this.pending.add(effect, now);
    }
    return numbered;
  }

  /** Runs a transaction. If it fails, memory is loaded again from storage. */
  private transactionOrReload(change: () => void): void {
    try {
      this.storage.transactionSync(change);
    } catch (error) {
      this.row = null;
      this.pending = new Pending([]);
      this.load();
      throw error;
    }
  }

  private write(): void {
    if (this.row === null) {
      return;
    }
    const { state } = this.row;
    let tail = JSON.stringify(this.row.tail);
    const last = this.row.tail.at(-1);
    if (tail.length > MAX_TAIL_CHARS && last !== undefined) {
      this.sql.exec(CHUNKS);
      this.sql.exec('INSERT INTO chunks (last, events) VALUES (?, ?)', last.id, tail);
      this.row = { state, tail: [] };
      tail = '[]';
    }
    this.sql.exec(
      `INSERT INTO job (one, state, pending, tail) VALUES (1, ?, ?, ?)
       ON CONFLICT (one) DO UPDATE SET state = excluded.state, pending = excluded.pending, tail = excluded.tail`,
      JSON.stringify(state),
      this.pending.stored(),
      tail,
    );
  }
}
