/** Byte streams read chunk by chunk, with little memory however much comes. */

/** Sizes of the memory that a native stream is read into: small for small bodies, larger as more comes. */
const FIRST_BYTES = 4 * 1024;
const MOST_BYTES = 64 * 1024;

type Read = ReadableStreamReadResult<Uint8Array>;

/** Waits for a chunk in the caller's way, for example no longer than a time. */
export type Waiting = (read: Promise<Read>) => Promise<Read>;

/**
 * The chunks of a stream as they come. A chunk is valid until the next one is asked for: a native stream is read into the same memory
 * again, since chunks with memory of their own are garbage that a body of 32 MB fills an isolate with. A reader that stops early leaves
 * the stream as it is, neither locked nor canceled; only where `waiting` gives up on a chunk is the stream canceled.
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
      // The sender may never answer, so neither may the cancelling.
      void reader.cancel().catch(() => {});
    } else {
      reader.release();
    }
  }
}

type Reader = { read: () => Promise<Read>; cancel: () => Promise<void>; release: () => void };

/** A stream made by JavaScript has chunks of its own and cannot be read into given memory. */
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
