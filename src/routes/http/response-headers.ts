import type { Context } from 'hono';

/**
 * Sets a header of the finished response. Hono's `c.header` would copy the whole response for each header, and a read
 * has six. It does not change a WebSocket upgrade, whose headers are the platform's.
 */
export function setResponseHeader(c: Context, name: string, value: string): void {
  if (c.res.status !== 101) {
    c.res.headers.set(name, value);
  }
}

/** The same for a header that may already have a value. */
export function appendResponseHeader(c: Context, name: string, value: string): void {
  if (c.res.status !== 101) {
    c.res.headers.append(name, value);
  }
}
