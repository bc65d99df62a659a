/** Calls of one object in all; the platform moves an object in less time than three calls take. */
const CALLS = 3;

/**
 * A call of an object that may be made again: every method the core uses gives the same answer to the same call. Errors that
 * the platform marks `retryable` (the object was moved or restarted) are tried again with a new stub; `overloaded` ones never
 * (reference/cloudflare.md section 2, RPC).
 */
export async function repeatable<T>(call: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count += 1) {
    try {
      return await call();
    } catch (error) {
      if (count >= CALLS || !marked(error, 'retryable') || marked(error, 'overloaded')) {
        throw error;
      }
    }
  }
}

/**
 * What workerd says where an object has no such method: for some minutes after a deploy an object may still run the code of the release
 * before (docs/operations/upgrade.md).
 */
const UNKNOWN_METHOD = /does not implement the method/;

/** Errors that pass by themselves: those the platform marks so, and a method that an object of another release lacks. */
export const isPassing = (error: unknown): boolean =>
  marked(error, 'overloaded') ||
  marked(error, 'retryable') ||
  (error instanceof Error && UNKNOWN_METHOD.test(error.message));

/** Whether the platform has put this mark on an error. */
export const marked = (error: unknown, mark: 'retryable' | 'overloaded'): boolean =>
  error instanceof Error && Object.entries(error).some(([name, value]) => name === mark && value === true);
