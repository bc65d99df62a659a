/** The most calls of one object. The platform moves an object in less time than three calls take. */
const CALLS = 3;

/**
 * Retries a call of a Durable Object. Every method gives the same answer to the same call (`contract/rpc.ts`). Errors
 * that the platform flags `retryable` (the object was moved or restarted) are retried with a new stub, `overloaded`
 * ones never (reference/cloudflare.md section 2, RPC).
 */
export async function withRpcRetry<T>(call: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count += 1) {
    try {
      return await call();
    } catch (error) {
      if (count >= CALLS || !hasRpcFlag(error, 'retryable') || hasRpcFlag(error, 'overloaded')) {
        throw error;
      }
    }
  }
}

/**
 * workerd's error for a method that an object does not have. For some minutes after a deploy an object may run the
 * previous release (docs/operations/upgrade.md).
 */
const UNKNOWN_METHOD = /does not implement the method/;

/**
 * Errors that need no change of the call: those the platform flags so, and a method that an object of another release
 * lacks.
 */
export const isTransient = (error: unknown): boolean =>
  hasRpcFlag(error, 'overloaded') ||
  hasRpcFlag(error, 'retryable') ||
  (error instanceof Error && UNKNOWN_METHOD.test(error.message));

/** Whether the platform has set this flag on an error. */
export const hasRpcFlag = (error: unknown, flag: 'retryable' | 'overloaded'): boolean =>
  error instanceof Error && Object.entries(error).some(([name, value]) => name === flag && value === true);
