/** Reads byte streams chunk by chunk, with little memory for any length. */

/** Sizes of the buffer that a native stream is read into: it starts small and grows with the body. */
const FIRST_BYTES = 4 * 1024;
const MOST_BYTES = 64 * 1024;

type Read = ReadableStreamReadResult<Uint8Array>;

/** How the caller waits for a chunk, for example with a timeout. */
export type Waiting = (read: Promise<Read>) => Promise<Read>;

/**
 * The chunks of a stream as they arrive. A chunk is valid until the next one is requested: a native stream is read into
 * the same buffer again, because the garbage of separate chunks of a 32 MB body would fill an isolate. A reader that
 * stops early leaves the stream unlocked and not canceled; the stream is canceled only where `waiting` throws.
 */
export async function* chunksOf(
  stream: ReadableStream<Uint8Array>,
  waiting: Waiting = (read) => read,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = readerOf(stream);
  let asked = false;
  try {
    for (;;) {
      asked = true;
      const { done, value } = await waiting(reader.read());
      asked = false;
      if (done) {
        return;
      }
      yield value;
    }
  } finally {
    if (asked) {
      // The sender may never answer, so cancel may never resolve.
      void reader.cancel().catch(() => {});
    } else {
      reader.release();
    }
  }
}

type Reader = { read: () => Promise<Read>; cancel: () => Promise<void>; release: () => void };

/** A stream made in JavaScript has its own chunks and cannot be read into a given buffer. */
function readerOf(stream: ReadableStream<Uint8Array>): Reader {
  try {
    return nativeReader(stream.getReader({ mode: 'byob' }));
  } catch {
    const reader = stream.getReader();
    return { read: () => reader.read(), cancel: () => reader.cancel(), release: () => reader.releaseLock() };
  }
}

function nativeReader(reader: ReadableStreamBYOBReader): Reader {
  let memory = new Uint8Array(FIRST_BYTES);
  const read = async (): Promise<Read> => {
    const result = await reader.read(memory);
    if (result.done) {
      return { done: true };
    }
    const { value } = result;
    const { byteLength } = value.buffer;
    const isFull = value.length === byteLength && byteLength < MOST_BYTES;
    memory = isFull ? new Uint8Array(2 * byteLength) : new Uint8Array(value.buffer);
    return { done: false, value };
  };
  return { read, cancel: () => reader.cancel(), release: () => reader.releaseLock() };
}
