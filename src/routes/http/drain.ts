import type { MiddlewareHandler } from 'hono';
import { deadlineIn, until } from '../../lib/stalled-stream.ts';
import { chunksOf } from '../../lib/chunks.ts';

/** More than the 100 MB body that Cloudflare accepts on most plans (reference/cloudflare.md section 4). */
export const DRAIN_BYTES = 128 * 1024 * 1024;
/** A client that sends for longer is slow or endless; its connection may be reset. */
const DRAIN_MS = 10_000;

/** The rest of a rate-limited body is not read, although the client may see a reset connection. */
const TOO_MANY_REQUESTS = 429;

/**
 * Reads and discards the rest of a body before the response is sent. Most clients read a response only after they have
 * sent the whole body; if the connection ends earlier, they report a reset connection instead of the refusal.
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
