/**
 * What a step of the launcher answers. An expected failure is a value: `message` is one line that says what went wrong and what
 * to do; `details` are lines of the program that failed, for a person to read.
 */
export type Outcome<T> = { ok: true; value: T } | Failure;
export type Failure = { ok: false; message: string; details: string[] };

export function done<T>(value: T): Outcome<T> {
  return { ok: true, value };
}

export function failure(message: string, details: string[] = []): Failure {
  return { ok: false, message, details };
}

/** The value, or an exception with the whole failure in it. For tests, where a failure to start is a bug. */
export function valueOf<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) {
    throw new Error([outcome.message, ...outcome.details].join('\n'));
  }
  return outcome.value;
}
