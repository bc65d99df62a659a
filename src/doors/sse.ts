import { streamSSE, type SSEStreamingApi } from 'hono/streaming';
import type { Context } from 'hono';
import type { WatchFrame } from '../contract/events.ts';

/** Comments keep proxies from cutting an idle stream and let us notice a client that left (reference/cloudflare.md section 3). */
export const KEEPALIVE_MS = 15_000;
/** How long a client waits before it reconnects. */
export const RETRY_MS = 2_000;
/**
 * What may wait for a client that reads slowly, in characters. An isolate has 128 MB for everything in it (reference/cloudflare.md
 * section 4). A client that falls behind further is cut off and resumes from the last event it got.
 */
export const MAX_WAITING_CHARS = 8 * 1024 * 1024;
/** Previews are for clients that keep up: with more than this waiting they are left out. */
const MAX_WAITING_FOR_PREVIEWS = 256 * 1024;

/**
 * Passes a job's frames on as SSE until the job is over or the client leaves. The Worker holds the stream; the object
 * behind the socket sleeps between frames.
 * @param render makes the data of one event in this door's form
 */
export function sse(c: Context, socket: WebSocket, render: (frame: WatchFrame) => unknown): Response {
  return streamSSE(c, async (stream) => {
    await relay(stream, socket, render);
  });
}

async function relay(
  stream: SSEStreamingApi,
  socket: WebSocket,
  render: (frame: WatchFrame) => unknown,
): Promise<void> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let open = true;
  let waiting = 0;
  // One write after the other: `writeSSE` resolves when the runtime took the bytes, and closing drops what was not awaited.
  let writes: Promise<unknown> = stream.write(`retry: ${RETRY_MS}\n\n`);
  const queue = (size: number, write: () => Promise<unknown>): void => {
    waiting += size;
    writes = writes.then(write).finally(() => {
      waiting -= size;
    });
    // A frame that cannot be written is a bug: the stream ends, and the error shows where `writes` is awaited.
    writes.catch(() => end());
  };
  const keepalive = setInterval(() => {
    if (waiting === 0) {
      queue(0, () => stream.write(': keepalive\n\n'));
    }
  }, KEEPALIVE_MS);
  // All clean-up is in here: after an abort the runtime may not come back to the code below.
  const leave = (): void => {
    open = false;
    clearInterval(keepalive);
    socket.close(1000, 'watcher left');
    end();
  };
  stream.onAbort(leave);
  socket.addEventListener('close', () => end());
  socket.addEventListener('error', () => end());
  socket.addEventListener('message', (message) => {
    const text = String(message.data);
    if (!open) {
      return;
    }
    if (waiting + text.length > MAX_WAITING_CHARS) {
      leave();
      return;
    }
    // The Job object sends WatchFrames only (objects/job/sockets.ts).
    const frame = JSON.parse(text) as WatchFrame;
    if (frame.event === 'preview' && waiting > MAX_WAITING_FOR_PREVIEWS) {
      return;
    }
    const id = 'id' in frame ? { id: String(frame.id) } : {};
    queue(text.length, () => stream.writeSSE({ event: frame.event, data: JSON.stringify(render(frame)), ...id }));
  });
  socket.accept();
  await ended;
  clearInterval(keepalive);
  try {
    await writes;
  } finally {
    socket.close(1000, 'done');
  }
}
