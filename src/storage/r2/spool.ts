import { uploadPartKey } from './keys.ts';

/**
 * Holds the data of one request until its hash is known (docs/decisions/0056). Small data stays in memory. Larger data
 * is written to R2 while it arrives, in puts of a known length.
 */

/** The most bytes held in memory. Most images are smaller and are stored without a spool in R2. */
export const MAX_MEMORY_BYTES = 1024 * 1024;
/**
 * The length of the first put when the total size is unknown. Each further put is twice as long. The rest of a put is
 * filled with zeros.
 */
export const FIRST_PUT_BYTES = 4 * 1024 * 1024;
const ZEROS = new Uint8Array(64 * 1024);

/** One object in R2. Its bytes begin at `start` of the spool. */
type Put = {
  key: string;
  start: number;
  length: number;
  written: number;
  writer: WritableStreamDefaultWriter<Uint8Array>;
  stored: Promise<unknown>;
  /**
   * Rejects when R2 fails to store the object, and never resolves. Otherwise a writer would wait forever for R2 to
   * read.
   */
  failed: Promise<never>;
};

export class Spool {
  private readonly bucket: R2Bucket;
  private readonly keyOf: (number: number) => string;
  private readonly expected: number | null;
  /** The first bytes; after they are written to R2, a buffer for reads. */
  private held = new Uint8Array(0);
  private size = 0;
  private readonly puts: Put[] = [];
  private turn: Promise<unknown> = Promise.resolve();

  /**
   * @param id names the objects under `uploads/` of the account
   * @param expected the exact or maximum number of bytes; null when unknown
   */
  constructor(bucket: R2Bucket, account: string, id: string, expected: number | null) {
    this.bucket = bucket;
    this.keyOf = (number) => uploadPartKey(account, id, number);
    this.expected = expected;
  }

  /** The number of bytes received. */
  get length(): number {
    return this.size;
  }

  /** The bytes received, while all of them are in memory. */
  get inMemory(): Uint8Array | null {
    return this.puts.length === 0 ? this.held.subarray(0, this.size) : null;
  }

  /** Adds bytes. The caller may overwrite them once this resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.puts.length === 0 && this.size + bytes.length <= MAX_MEMORY_BYTES) {
      this.hold(bytes);
    } else {
      if (this.puts.length === 0) {
        await this.send(this.held.subarray(0, this.size), 0);
      }
      await this.send(bytes, this.size);
    }
    this.size += bytes.length;
  }

  /** Resolves when everything can be read. No bytes may be added after this. */
  async close(): Promise<void> {
    const last = this.puts.at(-1);
    if (last === undefined || last.written === last.length) {
      return;
    }
    while (last.written < last.length) {
      await writeTo(last, ZEROS.subarray(0, last.length - last.written));
    }
    await end(last);
  }

  /** Reads `length` bytes from `offset`, or fewer at the end; valid until the next read. Call it inside `inTurn`. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const held = this.inMemory;
    if (held !== null) {
      return held.subarray(offset, offset + length);
    }
    const wanted = Math.max(0, Math.min(length, this.size - offset));
    let memory = this.held.length < wanted ? new ArrayBuffer(wanted) : this.held.buffer;
    let filled = 0;
    for (const { key, range } of this.piecesOf(offset, wanted)) {
      const reader = (await this.object(key, range)).body.getReader({ mode: 'byob' });
      const { value } = await reader.readAtLeast(range.length, new Uint8Array(memory, filled, range.length));
      if (value?.length !== range.length) {
        throw new Error('The spooled data is not in R2.');
      }
      memory = value.buffer;
      filled += value.length;
    }
    this.held = new Uint8Array(memory);
    return this.held.subarray(0, wanted);
  }

  /** Runs work that reads after earlier work has ended, because there is one read buffer. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => {});
    return done;
  }

  /** Reads the same as a stream of a known length. Cancel it when no more is needed. */
  stream(offset: number, length: number): ReadableStream<Uint8Array> {
    const { readable, writable } = new FixedLengthStream(length);
    const feed = async (): Promise<void> => {
      for (const { key, range } of this.piecesOf(offset, length)) {
        await (await this.object(key, range)).body.pipeTo(writable, { preventClose: true });
      }
      await writable.close();
    };
    void feed().catch((error: unknown) => writable.abort(error).catch(() => {}));
    return readable;
  }

  /** Deletes the objects in R2 and aborts writes in progress. Never rejects, because the sweep deletes the rest. */
  async discard(): Promise<void> {
    const { puts } = this;
    const last = puts.at(-1);
    if (last === undefined) {
      return;
    }
    if (last.written < last.length) {
      await last.writer.abort(new Error('discarded')).catch(() => {});
    }
    await last.stored.catch(() => {});
    await this.bucket.delete(puts.map(({ key }) => key)).catch(() => {});
  }

  private hold(bytes: Uint8Array): void {
    const needed = this.size + bytes.length;
    if (needed > this.held.length) {
      const room = new Uint8Array(Math.min(MAX_MEMORY_BYTES, Math.max(needed, 2 * this.held.length)));
      room.set(this.held.subarray(0, this.size));
      this.held = room;
    }
    this.held.set(bytes, this.size);
  }

  /** Writes bytes that begin at `start` of the spool to one or more objects. */
  private async send(bytes: Uint8Array, start: number): Promise<void> {
    for (let sent = 0; sent < bytes.length;) {
      const last = this.puts.at(-1);
      const put = last === undefined || last.written === last.length ? this.begin(start + sent) : last;
      const fits = Math.min(bytes.length - sent, put.length - put.written);
      await writeTo(put, bytes.subarray(sent, sent + fits));
      sent += fits;
      if (put.written === put.length) {
        await end(put);
      }
    }
  }

  private begin(start: number): Put {
    const number = this.puts.length + 1;
    const isExpected = this.expected !== null && start < this.expected;
    const length = isExpected ? this.expected - start : FIRST_PUT_BYTES * 2 ** (number - 1);
    const { readable, writable } = new FixedLengthStream(length);
    const key = this.keyOf(number);
    const stored = this.bucket.put(key, readable);
    const failed = stored.then(() => new Promise<never>(() => {}));
    const writer = writable.getWriter();
    // `write` and `close` report the failure.
    void Promise.allSettled([stored, failed, writer.closed]);
    const put = { key, start, length, written: 0, writer, stored, failed };
    this.puts.push(put);
    return put;
  }

  /** The objects and ranges that contain these bytes. */
  private piecesOf(offset: number, length: number): { key: string; range: { offset: number; length: number } }[] {
    return this.puts.flatMap(({ key, start, length: room }) => {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, start + room);
      return from < to ? [{ key, range: { offset: from - start, length: to - from } }] : [];
    });
  }

  private async object(key: string, range: { offset: number; length: number }): Promise<R2ObjectBody> {
    const object = await this.bucket.get(key, { range });
    if (object === null) {
      throw new Error('The spooled data is not in R2.');
    }
    return object;
  }
}

async function writeTo(put: Put, bytes: Uint8Array): Promise<void> {
  await Promise.race([put.writer.write(bytes), put.failed]);
  put.written += bytes.length;
}

async function end(put: Put): Promise<void> {
  await Promise.race([put.writer.close(), put.failed]);
  await put.stored;
}
