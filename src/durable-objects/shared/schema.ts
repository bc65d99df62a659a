/**
 * The steps that create an object's tables: the first creates the object, each later one is what a later release added.
 * Objects outlive releases, so a released step is never edited; a new one is appended.
 */
export type Schema = readonly [string, ...string[]];

/** Only created when a schema has more than one step. No table means one step, so a job writes no row for it. */
const VERSION =
  'CREATE TABLE IF NOT EXISTS schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)';

/**
 * Creates the tables of a new object, or adds to an older one the steps that it lacks: all of them or none. An object
 * of a newer release is left as it is, since older code ignores what later steps add.
 */
export function applySchema(storage: DurableObjectStorage, schema: Schema): void {
  const { sql } = storage;
  const done = stepsDone(sql, schema);
  if (done >= schema.length) {
    return;
  }
  storage.transactionSync(() => createTables(sql, schema, done));
}

/** Creates the tables of an object that has `done` steps. Runs in the caller's transaction. */
export function createTables(sql: SqlStorage, schema: Schema, done = 0): void {
  for (const statements of schema.slice(done)) {
    sql.exec(statements);
  }
  if (schema.length > 1) {
    sql.exec(VERSION);
    sql.exec('INSERT OR REPLACE INTO schema_version (one, version) VALUES (1, ?)', schema.length);
  }
}

/** How many steps an object has. Looks for known tables, because the platform has tables of its own in the object. */
function stepsDone(sql: SqlStorage, schema: Schema): number {
  // A schema of one step has no version. An object of a newer release has its table too, and is left as it is.
  if (schema.length > 1 && hasTable(sql, 'schema_version')) {
    return sql.exec<{ version: number }>('SELECT version FROM schema_version').one().version;
  }
  const [, first] = /CREATE TABLE (?:IF NOT EXISTS )?(\w+)/.exec(schema[0]) ?? [];
  return first !== undefined && hasTable(sql, first) ? 1 : 0;
}

const hasTable = (sql: SqlStorage, name: string): boolean =>
  sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name).toArray().length > 0;
