import type { EventBody, LogEvent } from '../../contract/events.ts';
import type { JobView } from '../../contract/job.ts';
import type { JobInput } from '../../contract/new-job.ts';
import { fitEvent, MAX_EVENT_BYTES } from '../../core/job/fit.ts';
import type { Effect } from '../../core/job/signals.ts';
import { readState, type JobState } from '../../core/job/state.ts';
import { applySchema, type Schema } from '../schema.ts';
import { readView } from './view.ts';

/** All SQL of the Job object. Times are ms since the epoch. Every table is described in docs/storage.md. */

const SCHEMA: Schema = [
  `
-- One row: the machine's state.
CREATE TABLE job (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL);
-- One row: the graph (JSON text) and inputs that the claim hands out, and the first view of the job, which a repeated submit is answered with. Beside the state, which is written with every turn and has a row's 2 MB to itself.
CREATE TABLE work_order (one INTEGER PRIMARY KEY CHECK (one = 1), workflow TEXT NOT NULL, inputs TEXT NOT NULL, first TEXT);
-- The log. \`body\` is JSON {event, data}.
CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
-- Effects still to be done, at most one of each key. \`wanted\`: how often it was asked for. \`leased\`: it is being done, until
-- \`due_at\` at most. \`started\`: an attempt to do it began; only \`send\` minds.
CREATE TABLE outbox (
  key TEXT PRIMARY KEY, effect TEXT NOT NULL, due_at INTEGER NOT NULL, tries INTEGER NOT NULL,
  wanted INTEGER NOT NULL, leased INTEGER NOT NULL, started INTEGER NOT NULL
);
`,
];

/** A log written by a gateway that bounded no event is fitted as it is read. */
function eventOf(body: string): EventBody {
  const event = JSON.parse(body) as EventBody;
  return body.length * 3 > MAX_EVENT_BYTES ? fitEvent(event) : event;
}

export type OutboxRow = { key: string; effect: Effect; tries: number; wanted: number; started: boolean };

/** What the outbox calls an effect: repeating an effect that still waits adds nothing. */
export function outboxKey(effect: Effect): string {
  if (effect.kind === 'notify') {
    return `${effect.kind}:${effect.sequence}`;
  }
  return 'attempt' in effect ? `${effect.kind}:${effect.attempt}` : effect.kind;
}

export class JobStore {
  private readonly storage: DurableObjectStorage;
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
  }

  /** Whether a job is stored: none was created here, or it has been erased, perhaps while something of it was still being done. */
  exists(): boolean {
    return this.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'job'").toArray().length > 0;
  }

  /** The state, or null where no job was created. Looking creates nothing: an object for a made-up id leaves no trace. */
  load(): JobState | null {
    if (!this.exists()) {
      return null;
    }
    applySchema(this.storage, SCHEMA);
    const row = this.sql.exec<{ state: string }>('SELECT state FROM job').toArray()[0];
    return row === undefined ? null : readState(row.state);
  }

  create(state: JobState, workflow: string, inputs: JobInput[]): void {
    this.storage.transactionSync(() => {
      applySchema(this.storage, SCHEMA);
      this.sql.exec('INSERT INTO job (one, state) VALUES (1, ?)', JSON.stringify(state));
      this.sql.exec(
        'INSERT INTO work_order (one, workflow, inputs) VALUES (1, ?, ?)',
        workflow,
        JSON.stringify(inputs),
      );
    });
  }

  /** Keeps what the submit is answered with. */
  keepFirst(view: JobView): void {
    this.sql.exec('UPDATE work_order SET first = ?', JSON.stringify(view));
  }

  /** What the submit was answered with. */
  first(): JobView {
    // Written by `keepFirst`, in the same turn as the row, by this gateway or an older one.
    const { first } = this.sql.exec<{ first: string }>('SELECT first FROM work_order').one();
    return readView(first);
  }

  /** What the claim hands out. */
  order(): { workflow: string; inputs: JobInput[] } {
    const row = this.sql.exec<{ workflow: string; inputs: string }>('SELECT workflow, inputs FROM work_order').one();
    return { workflow: row.workflow, inputs: JSON.parse(row.inputs) as JobInput[] };
  }

  /** Stores one turn of the machine: state, events and effects together or not at all. Returns the events with their numbers. */
  commit(state: JobState, events: EventBody[], effects: Effect[], now: number): LogEvent[] {
    return this.storage.transactionSync(() => {
      this.sql.exec('UPDATE job SET state = ?', JSON.stringify(state));
      const first = state.last_event - events.length + 1;
      const numbered = events.map((event, index) => ({ ...event, id: first + index }));
      for (const { id, ...body } of numbered) {
        this.sql.exec('INSERT INTO events (id, body) VALUES (?, ?)', id, JSON.stringify(body));
      }
      for (const effect of effects) {
        this.sql.exec(
          // One that is being done may be due again: `done` sees that it was asked for once more.
          `INSERT INTO outbox (key, effect, due_at, tries, wanted, leased, started) VALUES (?, ?, ?, 0, 1, 0, 0)
           ON CONFLICT (key) DO UPDATE SET wanted = wanted + 1, tries = 0, due_at = excluded.due_at`,
          outboxKey(effect),
          JSON.stringify(effect),
          now,
        );
      }
      return numbered;
    });
  }

  /** Events after `id`, oldest first. */
  eventsAfter(id: number): LogEvent[] {
    return this.sql
      .exec<{ id: number; body: string }>('SELECT id, body FROM events WHERE id > ? ORDER BY id', id)
      .toArray()
      .map((row) => ({ id: row.id, ...eventOf(row.body) }));
  }

  due(now: number): OutboxRow[] {
    return this.sql
      .exec<{ key: string; effect: string; tries: number; wanted: number; started: number }>(
        'SELECT key, effect, tries, wanted, started FROM outbox WHERE due_at <= ? ORDER BY due_at, key',
        now,
      )
      .toArray()
      .map((row) => ({ ...row, effect: JSON.parse(row.effect) as Effect, started: row.started === 1 }));
  }

  /** When the next effect is due; null when none waits. */
  nextDue(): number | null {
    return this.sql.exec<{ at: number | null }>('SELECT min(due_at) AS at FROM outbox').one().at;
  }

  /** An effect is being done: if nothing is heard of it by `until`, it is due again. */
  lease(key: string, until: number): void {
    this.sql.exec('UPDATE outbox SET started = 1, leased = 1, due_at = ? WHERE key = ?', until, key);
  }

  /** A new instance does nothing yet: whatever an earlier one was doing is due now. True when there was any. */
  dropLeases(now: number): boolean {
    return this.sql.exec('UPDATE outbox SET leased = 0, due_at = ? WHERE leased = 1', now).rowsWritten > 0;
  }

  again(key: string, due_at: number): void {
    this.sql.exec('UPDATE outbox SET leased = 0, due_at = ?, tries = tries + 1 WHERE key = ?', due_at, key);
  }

  /** An effect is done. Asked for again in the meantime, it is due at once; what was done may have been too early. */
  done(row: OutboxRow, now: number): void {
    this.sql.exec('DELETE FROM outbox WHERE key = ? AND wanted = ?', row.key, row.wanted);
    this.sql.exec('UPDATE outbox SET leased = 0, started = 0, due_at = ? WHERE key = ?', now, row.key);
  }
}
