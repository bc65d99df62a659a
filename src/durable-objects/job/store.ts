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
 * All SQL of the Job object. Times are ms since the epoch. Every table is described in docs/reference/storage.md. A row written is most of what a
 * job costs (docs/operations/benchmarks.md), so what changes with a turn is one row: the state, the effects still to be done, and the end of the log.
 */
const SCHEMA: Schema = [
  `
-- One row, written with every turn. \`state\`: the machine's. \`pending\`: JSON list of effects still to be done. \`tail\`: JSON list of
-- the events that are in no chunk yet.
CREATE TABLE job (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL, pending TEXT NOT NULL, tail TEXT NOT NULL);
-- One row: the graph (JSON text) and inputs that the claim hands out, and the first view of the job, which a repeated submit is answered
-- with. Beside the state, which has a row's 2 MB to itself.
CREATE TABLE work_order (one INTEGER PRIMARY KEY CHECK (one = 1), workflow TEXT NOT NULL, inputs TEXT NOT NULL, first TEXT NOT NULL);
`,
];
/**
 * The log before its tail. `events`: JSON list of events up to number `last`. Few jobs have so long a log; this table is made for those
 * that do.
 */
const CHUNKS = 'CREATE TABLE IF NOT EXISTS chunks (last INTEGER PRIMARY KEY, events TEXT NOT NULL)';

/** The tail of the log becomes a chunk above this, in characters: small beside a row's 2 MB, which the state has most of. */
const MAX_TAIL_CHARS = 32 * 1024;

/** What a turn of the machine leaves to be stored beside the new state. */
export type StoredTurn = { events: readonly EventBody[]; effects: readonly Effect[]; now: number };

export class JobStore {
  private readonly storage: DurableObjectStorage;
  private readonly sql: SqlStorage;
  /** What the one row holds; null where there is no job. Nobody else writes it, so it is read once. */
  private kept: { state: JobState; tail: LogEvent[] } | null = null;
  /** Effects still to be done. */
  pending = new Pending([]);

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
  }

  /** The state, or null where no job was created. Looking creates nothing: an object for a made-up id leaves no trace. */
  load(): JobState | null {
    if (this.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'job'").toArray().length === 0) {
      return null;
    }
    applySchema(this.storage, SCHEMA);
    const row = this.sql.exec<Record<'state' | 'pending' | 'tail', string>>('SELECT * FROM job').toArray()[0];
    if (row === undefined) {
      return null;
    }
    // Written by `write` only, as JSON of these types.
    this.pending = new Pending(storedJson<PendingEffect[]>(row.pending));
    this.kept = { state: readState(row.state), tail: storedJson<LogEvent[]>(row.tail) };
    return this.kept.state;
  }

  /**
   * Stores a new job with what came of its first turn, and `first`, which the submit is answered with. For an object of which `load`
   * said that it holds no job. `begin` as in `commit`.
   */
  create(
    job: { state: JobState; workflow: string; inputs: JobInput[]; first: JobView },
    turn: StoredTurn,
    begin: () => void,
  ): void {
    this.orReload(() => {
      createTables(this.sql, SCHEMA);
      this.sql.exec(
        'INSERT INTO work_order (one, workflow, inputs, first) VALUES (1, ?, ?, ?)',
        job.workflow,
        JSON.stringify(job.inputs),
        JSON.stringify(job.first),
      );
      this.add(job.state, turn);
      begin();
      this.write();
    });
  }

  /** What the submit was answered with. */
  first(): JobView {
    // Written by `create`, by this gateway or an older one.
    return readView(this.sql.exec<{ first: string }>('SELECT first FROM work_order').one().first);
  }

  /** What the claim hands out. */
  order(): { workflow: string; inputs: JobInput[] } {
    const row = this.sql.exec<{ workflow: string; inputs: string }>('SELECT workflow, inputs FROM work_order').one();
    return { workflow: row.workflow, inputs: storedJson<JobInput[]>(row.inputs) };
  }

  /**
   * Stores one turn of the machine: state, events and effects together or not at all. Returns the events with their numbers.
   * @param begin called once the effects are among those still to be done and before anything is written: that one was begun is stored
   * with the turn that wants it
   */
  commit(state: JobState, turn: StoredTurn, begin: () => void = () => {}): LogEvent[] {
    const numbered = this.add(state, turn);
    this.orReload(() => {
      begin();
      this.write();
    });
    return numbered;
  }

  /** Stores what has changed of the effects, if anything has. */
  flush(): void {
    if (this.pending.changed && this.kept !== null) {
      this.orReload(() => this.write());
    }
  }

  /** Number of the last message of the worker that is stored. */
  acked(): number {
    return this.kept === null ? 0 : (currentAttempt(this.kept.state)?.acked ?? 0);
  }

  /** Events after `id`, oldest first. */
  eventsAfter(id: number): LogEvent[] {
    const tail = this.kept?.tail ?? [];
    const beforeTail = (tail[0]?.id ?? (this.kept?.state.last_event ?? 0) + 1) - 1;
    // Most watchers want what is in memory.
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
    this.kept = null;
    this.pending = new Pending([]);
  }

  /** Adds a turn to what is in memory. */
  private add(state: JobState, { events, effects, now }: StoredTurn): LogEvent[] {
    const first = state.last_event - events.length + 1;
    const numbered = events.map((event, index) => ({ ...event, id: first + index }));
    this.kept = { state, tail: [...(this.kept?.tail ?? []), ...numbered] };
    for (const effect of effects) {
      this.pending.add(effect, now);
    }
    return numbered;
  }

  /** What is in memory is what is stored, whatever happens. */
  private orReload(change: () => void): void {
    try {
      this.storage.transactionSync(change);
    } catch (error) {
      this.kept = null;
      this.pending = new Pending([]);
      this.load();
      throw error;
    }
  }

  private write(): void {
    if (this.kept === null) {
      return;
    }
    const { state } = this.kept;
    let tail = JSON.stringify(this.kept.tail);
    const last = this.kept.tail.at(-1);
    if (tail.length > MAX_TAIL_CHARS && last !== undefined) {
      this.sql.exec(CHUNKS);
      this.sql.exec('INSERT INTO chunks (last, events) VALUES (?, ?)', last.id, tail);
      this.kept = { state, tail: [] };
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
