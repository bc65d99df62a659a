import type { MiddlewareHandler } from 'hono';
import { deadlineIn, until } from '../../lib/stalled-stream.ts';
import { chunksOf } from '../../lib/chunks.ts';

/** More than any body that Cloudflare lets through on most plans: 100 MB (reference/cloudflare.md section 4). */
export const DRAIN_BYTES = 128 * 1024 * 1024;
/** A client that sends for longer is on a slow line, or has no end: it may be told of a reset connection. */
const DRAIN_MS = 10_000;

/** Nothing more is read of a flood, whatever its senders make of their broken connections. */
const TOO_MANY_REQUESTS = 429;

/**
 * Reads and forgets what is left of a body before its request is answered. Most clients read an answer only once they have sent all; one
 * whose connection ends before that is told of a reset connection instead of why it was refused.
 */
export const drainBody: MiddlewareHandler = async (c, next) => {
  await next();
  if (c.res.status !== TOO_MANY_REQUESTS) {
    await drain(c.req.raw.body);
  }
};

async function drain(body: ReadableStream<Uint8Array> | null): Promise<void> {
  if (body === null || body.locked) {
    return;
  }
  const deadline = deadlineIn(DRAIN_MS);
  let bytes = 0;
  try {
    for await (const chunk of chunksOf(body, until(deadline.signal))) {
      bytes += chunk.length;
      if (bytes > DRAIN_BYTES) {
        return;
      }
    }
  } catch {
    // The client has gone, or the time is up.
  } finally {
    deadline.stop();
  }
}
