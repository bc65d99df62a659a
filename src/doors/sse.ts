import { streamSSE, type SSEStreamingApi } from 'hono/streaming';
import type { Context } from 'hono';
import type { WatchFrame } from '../contract/events.ts';

/** Comments keep proxies from cutting an idle stream and let us notice a client that left (reference/cloudflare.md section 3). */
export const KEEPALIVE_MS = 15_000;
/** How long a client waits before it reconnects. */
export const RETRY_MS = 2_000;

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
  // One write after the other: `writeSSE` resolves when the runtime took the bytes, and closing drops what was not awaited.
  let writes: Promise<unknown> = stream.write(`retry: ${RETRY_MS}\n\n`);
  const queue = (write: () => Promise<unknown>): void => {
    writes = writes.then(write);
  };
  const ended = new Promise<void>((resolve) => {
    socket.addEventListener('close', () => resolve());
    socket.addEventListener('error', () => resolve());
    stream.onAbort(() => {
      resolve();
      socket.close(1000, 'watcher left');
    });
  });
  const keepalive = setInterval(() => queue(() => stream.write(': keepalive\n\n')), KEEPALIVE_MS);
  socket.addEventListener('message', (message) => {
    // The Job object sends WatchFrames only (objects/job/sockets.ts).
    const frame = JSON.parse(String(message.data)) as WatchFrame;
    const id = 'id' in frame ? { id: String(frame.id) } : {};
    queue(() => stream.writeSSE({ event: frame.event, data: JSON.stringify(render(frame)), ...id }));
  });
  socket.accept();
  await ended;
  clearInterval(keepalive);
  await writes;
  socket.close(1000, 'done');
}
