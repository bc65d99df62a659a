import type { Context } from 'hono';
import { readWatchFrame, type WatchFrame } from '../../contract/events.ts';

/**
 * Comments keep proxies from cutting an idle stream (one in 15 s would do) and let us notice a client that left: nothing but a write
 * tells (reference/cloudflare.md section 3), not the first one, which the system still takes, but the second, and the third where a
 * proxy is in between (measured against workerd). Three of them are the 15 s in which a client that left is to be gone.
 */
export const KEEPALIVE_MS = 5_000;
/** How long a client waits before it reconnects. */
export const RETRY_MS = 2_000;
/** How long a client waits that could not be let in again: between these, so that those sent away together do not come back together. */
export const RETRY_LATER_MS = { least: 5_000, most: 15_000 };
/**
 * What may wait for a client that reads slowly, in characters. An isolate has 128 MB for everything in it (reference/cloudflare.md
 * section 4). A client that falls behind further is cut off and resumes from the last event it got.
 */
export const MAX_PENDING_CHARS = 8 * 1024 * 1024;
/** Previews are for clients that keep up: with more than this waiting they are left out. */
const MAX_PENDING_FOR_PREVIEWS = 256 * 1024;

/** A client that takes nothing need not get ever more of them. */
const MAX_PENDING_FOR_KEEPALIVES = 256;

const HEADERS = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' };

/**
 * What SSE takes for no line end but Python's `splitlines` does, by which some clients cut a stream into lines (httpx). All of them can
 * only stand inside a text of the JSON, where an escape means the same.
 */
const LINE_ENDS = /[\u0085\u2028\u2029]/g;
const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** What a door says of a stream. */
export type StreamOptions = {
  /** Events whose data looks different in this door than in the object, and how. All others are passed on unread. */
  rendered: ReadonlySet<WatchFrame['event']>;
  render: (frame: WatchFrame) => unknown;
  /** Whether the client may go on watching; asked with every keep-alive. A question that fails is asked again with the next. */
  isStillAuthorized: () => Promise<boolean>;
};

/**
 * Passes a job's frames on as SSE until the job is over, the client leaves or may no longer watch. The Worker holds the stream; the
 * object behind the socket sleeps between frames.
 */
export function sse(c: Context, socket: WebSocket, options: StreamOptions): Response {
  // Native from end to end: with a stream written in JavaScript between the two, each event costs a tenth more.
  const { readable, writable } = new IdentityTransformStream();
  void relay(writable.getWriter(), socket, options);
  return c.body(readable, 200, HEADERS);
}

/** Whether this request goes on with a stream that was cut. */
export const resumes = (c: Context): boolean =>
  c.req.method === 'GET' && c.req.path.endsWith('/events') && positionOf(c) !== undefined;

/** The number of the last event a client has. A browser sends the header when it reconnects, with the URL of its first request. */
export const positionOf = (c: Context): string | undefined => c.req.header('last-event-id') ?? c.req.query('after');

/**
 * What a client is told that cannot be let in again for now. Anything but a stream would end its EventSource for good
 * (reference/http-api.md section 8): it gets one that ends at once and says when to try again.
 * @param random gives whole numbers from 0 to far above the span of the wait
 */
export function retryLater(c: Context, random: () => number): Response {
  const { least, most } = RETRY_LATER_MS;
  return c.body(`retry: ${least + (random() % (most - least))}\n\n`, 200, HEADERS);
}

async function relay(
  writer: WritableStreamDefaultWriter<Uint8Array>,
  socket: WebSocket,
  { rendered, render, isStillAuthorized }: StreamOptions,
): Promise<void> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let open = true;
  // All clean-up is in here: after an abort the runtime may not come back to the code below.
  const leave = (): void => {
    open = false;
    clearInterval(keepalive);
    socket.close(1000, 'watcher left');
    end();
  };
  const line = new WriteBuffer(writer, leave);
  const keepalive = setInterval(() => {
    if (line.pendingChars < MAX_PENDING_FOR_KEEPALIVES) {
      line.queue(': keepalive\n\n');
    }
    isStillAuthorized().then(
      (allowed) => allowed || leave(),
      () => undefined,
    );
  }, KEEPALIVE_MS);
  writer.closed.catch(leave);
  socket.addEventListener('close', () => end());
  socket.addEventListener('error', () => end());
  socket.addEventListener('message', (message) => {
    const text = String(message.data);
    if (!open) {
      return;
    }
    if (line.pendingChars + text.length > MAX_PENDING_CHARS) {
      leave();
      return;
    }
    const { event, id, data, frame } = readWatchFrame(text);
    if (event === 'preview' && line.pendingChars > MAX_PENDING_FOR_PREVIEWS) {
      return;
    }
    const shown = rendered.has(event) ? JSON.stringify(render(frame())) : data;
    // JSON has no LF or CR in it, so one `data` line holds it.
    line.queue(`event: ${event}\ndata: ${shown.replaceAll(LINE_ENDS, escaped)}\n${id === null ? '' : `id: ${id}\n`}\n`);
  });
  line.queue(`retry: ${RETRY_MS}\n\n`);
  socket.accept();
  await ended;
  clearInterval(keepalive);
  await line.written;
  socket.close(1000, 'done');
  // Fails where the client has gone, which is an end too.
  await writer.close().catch(() => undefined);
}

/** Writes one text after the other; what comes while one is on its way goes out together. */
class WriteBuffer {
  /** Characters that the client has not taken yet. */
  pendingChars = 0;
  /** Resolves when all that was queued is written, or cannot be. */
  written: Promise<void> = Promise.resolve();
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  private readonly broken: () => void;
  private readonly encoder = new TextEncoder();
  private texts: string[] = [];
  private busy = false;

  constructor(writer: WritableStreamDefaultWriter<Uint8Array>, broken: () => void) {
    this.writer = writer;
    this.broken = broken;
  }

  queue(text: string): void {
    this.pendingChars += text.length;
    this.texts.push(text);
    if (!this.busy) {
      this.busy = true;
      this.written = this.flush().catch(this.broken);
    }
  }

  private async flush(): Promise<void> {
    while (this.texts.length > 0) {
      const text = this.texts.join('');
      this.texts = [];
      await this.writer.write(this.encoder.encode(text));
      this.pendingChars -= text.length;
    }
    this.busy = false;
  }
}
