/**
 * Bodies that end in time. The platform's own `pipeThrough` with a signal looks at it between two chunks only, so a sender that has
 * stopped would hold it for ever: here the waiting itself is given up.
 */

/** How long a sender may be silent. A connection that is alive sends something within seconds, however slow it is. */
export const MAX_SILENCE_MS = 60_000;

/** A time within which work must end: `signal` aborts when it is up. `stop` when the work is done, or the timer runs on. */
export type Deadline = { signal: AbortSignal; stop: () => void };

/** Not `AbortSignal.timeout`: its timer cannot be stopped, and keeps an object from hibernating. */
export function deadlineIn(ms: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

/** The stream, which breaks when nothing comes for too long although it is asked for. */
export const whileItFlows = (stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> =>
  waited(stream, async (read) => {
    const { promise: silence, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error('nothing came for too long')), MAX_SILENCE_MS);
    try {
      return await Promise.race([read, silence]);
    } finally {
      clearTimeout(timer);
    }
  });

/** The stream, which breaks when the signal does. */
export function until(signal: AbortSignal, stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  // Nobody may be waiting when it comes.
  over.catch(() => {});
  signal.addEventListener('abort', () => reject(new Error('the time is up')), { once: true });
  return waited(stream, (read) => Promise.race([read, over]));
}

type Read = Promise<ReadableStreamReadResult<Uint8Array>>;

/** The stream with every wait for a chunk in the caller's hand. Where that gives up, the sender is told to stop. */
function waited(stream: ReadableStream<Uint8Array>, wait: (read: Read) => Read): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await wait(reader.read());
          if (done) {
            controller.close();
          } else {
            controller.enqueue(value);
          }
        } catch (error) {
          controller.error(error);
          await reader.cancel(error).catch(() => {});
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
