import type { Context } from 'hono';
import { readWatchFrame, type WatchFrame } from '../../contract/events.ts';

/**
 * A comment keeps proxies from closing an idle stream (one in 15 s is enough), and shows that a client has left: only a
 * write fails then (reference/cloudflare.md section 3). The first write still succeeds; the second fails, or the third
 * behind a proxy (measured with workerd). After three of them, 15 s, a client that left has been noticed.
 */
export const KEEPALIVE_MS = 5_000;
/** How long a client waits before it reconnects. */
export const RETRY_MS = 2_000;
/**
 * The wait of a client that could not resume, in ms: a random time between these, so that clients do not return all at
 * once.
 */
export const RETRY_LATER_MS = { least: 5_000, most: 15_000 };
/**
 * Characters that may be pending for a slow client. An isolate has 128 MB in total (reference/cloudflare.md section 4).
 * A client that falls further behind is disconnected and resumes from its last event.
 */
export const MAX_PENDING_CHARS = 8 * 1024 * 1024;
/** With more pending characters than this, previews are skipped. */
const MAX_PENDING_FOR_PREVIEWS = 256 * 1024;

/** With more pending characters than this, keep-alives are skipped. */
const MAX_PENDING_FOR_KEEPALIVES = 256;

const HEADERS = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' };

/**
 * Characters that do not end a line in SSE, but do in Python's `splitlines`, with which some clients split a stream
 * (httpx). They occur only inside strings of the JSON, where an escape means the same.
 */
const LINE_ENDS = /[\u0085\u2028\u2029]/g;
const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** The options of a protocol for a stream. */
export type StreamOptions = {
  /** Events that this protocol renders, and how. All others are sent on as they are. */
  rendered: ReadonlySet<WatchFrame['event']>;
  render: (frame: WatchFrame) => unknown;
  /**
   * Whether the client may still watch. It is asked with every keep-alive; after an error it is asked again with the
   * next one.
   */
  isStillAuthorized: () => Promise<boolean>;
};

/**
 * Sends a job's frames as SSE until the job has finished, the client leaves, or it may no longer watch. The Worker
 * holds the stream; the Job object behind the socket hibernates between frames.
 */
export function sse(c: Context, socket: WebSocket, options: StreamOptions): Response {
  // A native stream: one in JavaScript costs 10 % more for each event.
  const { readable, writable } = new IdentityTransformStream();
  void relay(writable.getWriter(), socket, options);
  return c.body(readable, 200, HEADERS);
}

/** Whether this request resumes a stream. */
export const resumes = (c: Context): boolean =>
  c.req.method === 'GET' && c.req.path.endsWith('/events') && positionOf(c) !== undefined;

/**
 * The number of the client's last event. When a browser reconnects, it sends the header with the URL of its first
 * request.
 */
export const positionOf = (c: Context): string | undefined => c.req.header('last-event-id') ?? c.req.query('after');

/**
 * The response to a client that cannot resume now. Any other response would end its EventSource permanently
 * (reference/http-api.md section 8), so it is a stream that ends at once and says when to reconnect.
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
  // All cleanup is here: after an abort the runtime may not return to the code below.
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
    // JSON has no LF or CR, so it fits into one `data` line.
    line.queue(`event: ${event}\ndata: ${shown.replaceAll(LINE_ENDS, escaped)}\n${id === null ? '' : `id: ${id}\n`}\n`);
  });
  line.queue(`retry: ${RETRY_MS}\n\n`);
  socket.accept();
  await ended;
  clearInterval(keepalive);
  await line.written;
  socket.close(1000, 'done');
  // This fails after the client has left, which is an end too.
  await writer.close().catch(() => undefined);
}

/** Writes texts in order. Texts that are queued during a write are sent together. */
class WriteBuffer {
  /** Characters that are not written yet. */
  pendingChars = 0;
  /** Resolves when all queued texts are written, or the write has failed. */
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
