import type { Env } from '../env.ts';

/**
 * Counts what Cloudflare bills while the gateway runs. Bindings are wrapped where the gateway receives them, objects where
 * the platform calls them; the gateway itself is unchanged. Requests to R2's S3 endpoint are not counted.
 */
export class Meter {
  /** Requests to the Worker from outside, cron runs included. */
  workerRequests = 0;
  /** Calls of an object's methods, its WebSocket upgrades and its alarms. */
  objectRequests = 0;
  /** WebSocket messages that came in to objects; the automatic answer to a ping is free. */
  objectMessages = 0;
  /** Time in which any object ran or waited for something of its own, ms, summed over objects. */
  objectMs = 0;
  objectRowsRead = 0;
  objectRowsWritten = 0;
  d1RowsRead = 0;
  d1RowsWritten = 0;
  r2ClassA = 0;
  r2ClassB = 0;

  reset(): void {
    Object.assign(this, new Meter());
  }
}

/** Reads of R2 are class B; what creates, changes or lists is class A; deleting is free. */
const R2_CLASS: Readonly<Record<string, 'r2ClassA' | 'r2ClassB'>> = {
  get: 'r2ClassB',
  head: 'r2ClassB',
  put: 'r2ClassA',
  list: 'r2ClassA',
  createMultipartUpload: 'r2ClassA',
};

/** The bindings, each of them counted. */
export function meteredEnv<E extends Env>(env: E, meter: Meter): E {
  return new Proxy(env, {
    get(target, name) {
      const binding: unknown = Reflect.get(target, name);
      switch (name) {
        case 'DB':
          return meteredDatabase(target.DB, meter);
        case 'BUCKET':
          return watched(target.BUCKET, (operation) => {
            const kind = R2_CLASS[operation];
            if (kind !== undefined) {
              meter[kind] += 1;
            }
          });
        default:
          return isNamespace(binding) ? meteredNamespace(binding, meter) : binding;
      }
    },
  });
}

const isNamespace = (binding: unknown): binding is DurableObjectNamespace =>
  typeof binding === 'object' && binding !== null && 'getByName' in binding && 'idFromName' in binding;

function meteredNamespace(namespace: DurableObjectNamespace, meter: Meter): DurableObjectNamespace {
  return new Proxy(namespace, {
    get(target, name) {
      return name === 'getByName'
        ? (objectName: string) =>
            watched(target.getByName(objectName), () => {
              meter.objectRequests += 1;
            })
        : bound(target, name);
    },
  });
}

/** D1 reports the cost of a statement; `first` drops that report, so it runs as `all`. */
function meteredDatabase(database: D1Database, meter: Meter): D1Database {
  const count = <T>(result: D1Result<T>): D1Result<T> => {
    meter.d1RowsRead += result.meta.rows_read;
    meter.d1RowsWritten += result.meta.rows_written;
    return result;
  };
  const real = new WeakMap<D1PreparedStatement, D1PreparedStatement>();
  const statement = (inner: D1PreparedStatement): D1PreparedStatement => {
    const outer = new Proxy(inner, {
      get(target, name) {
        switch (name) {
          case 'bind':
            return (...values: unknown[]) => statement(target.bind(...values));
          case 'run':
          case 'all':
            return async () => count(await target[name]());
          case 'first':
            return async (column?: string) => {
              const [row] = count(await target.all<Record<string, unknown>>()).results;
              return row === undefined ? null : column === undefined ? row : row[column];
            };
          default:
            return bound(target, name);
        }
      },
    });
    real.set(outer, inner);
    return outer;
  };
  return new Proxy(database, {
    get(target, name) {
      switch (name) {
        case 'prepare':
          return (query: string) => statement(target.prepare(query));
        case 'batch':
          return async (statements: D1PreparedStatement[]) =>
            (await target.batch(statements.map((outer) => real.get(outer) ?? outer))).map(count);
        default:
          return bound(target, name);
      }
    },
  });
}

/** Reports each method before it is called. */
function watched<T extends object>(inner: T, called: (method: string) => void): T {
  return new Proxy(inner, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function' || typeof name !== 'string') {
        return value;
      }
      return (...args: unknown[]): unknown => {
        called(name);
        // Called on the stub itself: its methods do not work as separate functions.
        return Reflect.apply(value, target, args);
      };
    },
  });
}

const bound = (target: object, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? value.bind(target) : value;
};

const patched = new WeakSet<object>();

/** Counts rows and alarms of every object of this isolate. Their classes cannot be wrapped: the platform checks them. */
export function meterStorage(storage: DurableObjectStorage, meter: Meter): void {
  const { sql } = storage;
  const sqlClass: object = Object.getPrototypeOf(sql);
  if (patched.has(sqlClass)) {
    return;
  }
  patched.add(sqlClass);
  const exec = sql.exec;
  Object.defineProperty(sqlClass, 'exec', {
    value(this: SqlStorage, query: string, ...values: unknown[]) {
      const cursor = exec.call(this, query, ...values);
      // Miniflare keeps the object's name in a table of its own; Cloudflare does not.
      return query.includes('__miniflare') ? cursor : meteredCursor(cursor, meter);
    },
  });
  const storageClass: object = Object.getPrototypeOf(storage);
  const setAlarm = storage.setAlarm;
  Object.defineProperty(storageClass, 'setAlarm', {
    value(this: DurableObjectStorage, at: number) {
      // Billed as one row.
      meter.objectRowsWritten += 1;
      return setAlarm.call(this, at);
    },
  });
}

/** Adds the rows of a cursor as they are read. */
function meteredCursor<T extends Record<string, SqlStorageValue>>(
  cursor: SqlStorageCursor<T>,
  meter: Meter,
): SqlStorageCursor<T> {
  let [read, written] = [0, 0];
  const settle = (): void => {
    meter.objectRowsRead += cursor.rowsRead - read;
    meter.objectRowsWritten += cursor.rowsWritten - written;
    [read, written] = [cursor.rowsRead, cursor.rowsWritten];
  };
  settle();
  return new Proxy(cursor, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') {
        return value;
      }
      return (...args: unknown[]): unknown => {
        const answer: unknown = Reflect.apply(value, target, args);
        settle();
        return answer;
      };
    },
  });
}
