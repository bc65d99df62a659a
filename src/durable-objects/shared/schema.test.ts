import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { applySchema, type Schema } from './schema.ts';

/**
 * Guards the schema of Durable Objects across deploys: code of two releases opens the same object for some minutes, and
 * a migration may fail halfway. A step is applied once, as a whole, and older code accepts newer tables.
 */

const FIRST = 'CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);';
const SECOND = 'ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7;';
const THIRD = 'CREATE TABLE b (z INTEGER); INSERT INTO b VALUES (3);';

/** Runs against the storage of a new object: a Job object without a job has no tables. */
const withStorage = <T>(use: (storage: DurableObjectStorage) => T): Promise<T> =>
  runInDurableObject(env.JOB.getByName(crypto.randomUUID()), (_object, state) => use(state.storage));

const rows = (storage: DurableObjectStorage, query: string) => storage.sql.exec(query).toArray();

describe('the tables of an object', () => {
  it('are created once, however often the object is opened', () =>
    withStorage((storage) => {
      const schema: Schema = [FIRST, SECOND];
      applySchema(storage, schema);
      applySchema(storage, schema);
      expect(rows(storage, 'SELECT * FROM a')).toEqual([{ x: 1, y: 7 }]);
    }));

  it.each([
    ['from before versions were kept', [FIRST]],
    ['of the gateway before', [FIRST, SECOND]],
  ] as const)('get what a newer release adds, in an object %s', (_name, before) =>
    withStorage((storage) => {
      applySchema(storage, before);
      applySchema(storage, [FIRST, SECOND, THIRD]);
      expect(rows(storage, 'SELECT * FROM a')).toEqual([{ x: 1, y: 7 }]);
      expect(rows(storage, 'SELECT * FROM b')).toEqual([{ z: 3 }]);
    }),
  );

  it('are kept under a release that was rolled back', () =>
    withStorage((storage) => {
      applySchema(storage, [FIRST, SECOND]);
      applySchema(storage, [FIRST]);
      applySchema(storage, [FIRST, SECOND]);
      expect(rows(storage, 'SELECT * FROM a')).toEqual([{ x: 1, y: 7 }]);
    }));

  it('are unchanged when a step fails halfway', () =>
    withStorage((storage) => {
      applySchema(storage, [FIRST]);
      expect(() => applySchema(storage, [FIRST, SECOND, 'CREATE TABLE a (again INTEGER);'])).toThrow('already exists');
      applySchema(storage, [FIRST, SECOND]);
      expect(rows(storage, 'SELECT * FROM a')).toEqual([{ x: 1, y: 7 }]);
    }));

  it('are created beside a table of the platform', () =>
    withStorage((storage) => {
      storage.sql.exec('CREATE TABLE __miniflare_do_name (name TEXT)');
      applySchema(storage, [FIRST, SECOND]);
      expect(rows(storage, 'SELECT * FROM a')).toEqual([{ x: 1, y: 7 }]);
    }));

  it('have no version while there is one step', () =>
    withStorage((storage) => {
      applySchema(storage, [FIRST]);
      expect(rows(storage, "SELECT name FROM sqlite_master WHERE name = 'schema_version'")).toEqual([]);
    }));
});
