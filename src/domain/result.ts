/** An expected failure is a value; exceptions are bugs or outages. */
export type Result<T, E> = { ok: true; value: T } | { ok: false; problem: E };

export const ok = <T>(value: T): { ok: true; value: T } => ({ ok: true, value });

export const fail = <E>(problem: E): { ok: false; problem: E } => ({ ok: false, problem });
