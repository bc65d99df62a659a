/**
 * An object's tables, as the steps that made them: the first made the object, each later one is what a later gateway added. An
 * object lives on over upgrades, so a step that was released is never edited; a new one is appended.
 */
export type Schema = readonly [string, ...string[]];

/** Kept only once there is more than one step: no row means the first, and a job that needs no later step pays for none. */
const VERSION =
  'CREATE TABLE IF NOT EXISTS schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)';

/**
 * Makes the tables of a new object, or adds to an older one what it lacks: all of it or nothing. An object that a newer gateway
 * has been at is left as it is: what steps add does not disturb code that does not know it.
 */
export function applySchema(storage: DurableObjectStorage, schema: Schema): void {
  const { sql } = storage;
  const done = stepsDone(sql, schema);
  if (done >= schema.length) {
    return;
  }
  storage.transactionSync(() => createTables(sql, schema, done));
}

/** Makes the tables of an object that is known to have been through `done` steps. Within a transaction of the caller's. */
export function createTables(sql: SqlStorage, schema: Schema, done = 0): void {
  for (const statements of schema.slice(done)) {
    sql.exec(statements);
  }
  if (schema.length > 1) {
    sql.exec(VERSION);
    sql.exec('INSERT OR REPLACE INTO schema_version (one, version) VALUES (1, ?)', schema.length);
  }
}

/** How many steps an object has been through. Looks for the tables it knows: the platform keeps tables of its own beside them. */
function stepsDone(sql: SqlStorage, schema: Schema): number {
  // One step has no version: an object of a newer gateway has its table too, and is left as it is.
  if (schema.length > 1 && hasTable(sql, 'schema_version')) {
    return sql.exec<{ version: number }>('SELECT version FROM schema_version').one().version;
  }
  const [, first] = /CREATE TABLE (?:IF NOT EXISTS )?(\w+)/.exec(schema[0]) ?? [];
  return first !== undefined && hasTable(sql, first) ? 1 : 0;
}

const hasTable = (sql: SqlStorage, name: string): boolean =>
  sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name).toArray().length > 0;
