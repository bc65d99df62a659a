import type { Context } from 'hono';

/**
 * Sets a header of the answer that is already made. Hono's `c.header` would copy the whole answer for each: a read has six. Does nothing to a
 * WebSocket upgrade, whose headers are the platform's.
 */
export function setResponseHeader(c: Context, name: string, value: string): void {
  if (c.res.status !== 101) {
    c.res.headers.set(name, value);
  }
}

/** The same for a header that may have a value already. */
export function appendResponseHeader(c: Context, name: string, value: string): void {
  if (c.res.status !== 101) {
    c.res.headers.append(name, value);
  }
}
