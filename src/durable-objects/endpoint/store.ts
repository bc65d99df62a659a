import type { EndpointStatus } from '../../contract/endpoint.ts';
import { closedBreaker, type Breaker } from '../../domain/endpoint/circuit-breaker.ts';
import { applySchema, type Schema } from '../shared/schema.ts';
import { storedJson } from '../../lib/stored-json.ts';

/**
 * All SQL of the Endpoint object. Times are ms since the epoch. Every table is described in docs/reference/storage.md.
 */

const SCHEMA: Schema = [
  `
-- One row: the endpoint's name, which an alarm does not get, and the circuit breaker as JSON. No row until a call
-- fails.
CREATE TABLE breaker (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, state TEXT NOT NULL);
-- One row: since when runs have waited while the endpoint had no workers.
CREATE TABLE no_workers_since (one INTEGER PRIMARY KEY CHECK (one = 1), since INTEGER NOT NULL);
-- Calls of \`/run\`: \`sent\`, and of those \`failed\` and \`refused\`.
CREATE TABLE counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL);
`,
];

/** The endpoint's circuit breaker and counts in SQLite. */
export class EndpointStore {
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    applySchema(storage, SCHEMA);
    this.sql = storage.sql;
  }

  breaker(): Breaker {
    const row = this.sql.exec<{ state: string }>('SELECT state FROM breaker').toArray()[0];
    // Only `saveBreaker` writes it.
    return row === undefined ? closedBreaker : { ...closedBreaker, ...storedJson<Partial<Breaker>>(row.state) };
  }

  /** The name given to `saveBreaker`; null before its first call. */
  name(): string | null {
    return this.sql.exec<{ name: string }>('SELECT name FROM breaker').toArray()[0]?.name ?? null;
  }

  saveBreaker(name: string, breaker: Breaker): void {
    this.sql.exec('INSERT OR REPLACE INTO breaker (one, name, state) VALUES (1, ?, ?)', name, JSON.stringify(breaker));
  }

  noWorkersSince(): number | null {
    return this.sql.exec<{ since: number }>('SELECT since FROM no_workers_since').toArray()[0]?.since ?? null;
  }

  saveNoWorkersSince(since: number | null): void {
    if (since === null) {
      this.sql.exec('DELETE FROM no_workers_since');
    } else {
      this.sql.exec('INSERT OR REPLACE INTO no_workers_since (one, since) VALUES (1, ?)', since);
    }
  }

  count(name: keyof EndpointStatus['counts'], calls = 1): void {
    if (calls === 0) {
      return;
    }
    this.sql.exec(
      'INSERT INTO counts (name, count) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2',
      name,
      calls,
    );
  }

  counts(): EndpointStatus['counts'] {
    const rows = this.sql.exec<{ name: string; count: number }>('SELECT name, count FROM counts').toArray();
    const of = (wanted: string): number => rows.find(({ name }) => name === wanted)?.count ?? 0;
    return { sent: of('sent'), failed: of('failed'), refused: of('refused') };
  }
}
