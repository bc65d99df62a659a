import { uploadPartKey } from './keys.ts';

/**
 * What comes with one request and is not known yet by its hash: bytes in a row, the first of them in memory and, where more comes, all of
 * them in R2 (docs/decisions/0056). They go there as they come, through puts whose length R2 is told beforehand.
 */

/** What is held in memory. Most pictures are smaller, and need no other way into storage than their own. */
export const HELD_BYTES = 1024 * 1024;
/** Length of a put where nobody knows what will come; each further one is twice as long. What is too long is filled with zeros. */
export const FIRST_PUT_BYTES = 4 * 1024 * 1024;
const ZEROS = new Uint8Array(64 * 1024);

/** One object: its bytes begin at `start` of the spool. */
type Put = {
  key: string;
  start: number;
  length: number;
  written: number;
  writer: WritableStreamDefaultWriter<Uint8Array>;
  stored: Promise<unknown>;
  /** Rejects where R2 does not store it, and never resolves: a writer would be left waiting for R2 to go on reading. */
  failed: Promise<never>;
};

export class Spool {
  private readonly bucket: R2Bucket;
  private readonly keyOf: (number: number) => string;
  private readonly expected: number | null;
  /** What came first; once that is in R2, memory for what is read back. */
  private held = new Uint8Array(0);
  private size = 0;
  private readonly puts: Put[] = [];
  private turn: Promise<unknown> = Promise.resolve();

  /**
   * @param id names the objects, under `uploads/` of the account
   * @param expected bytes that will come, or at most; null where that is not known
   */
  constructor(bucket: R2Bucket, account: string, id: string, expected: number | null) {
    this.bucket = bucket;
    this.keyOf = (number) => uploadPartKey(account, id, number);
    this.expected = expected;
  }

  /** Bytes that have come. */
  get length(): number {
    return this.size;
  }

  /** What came first, as long as all of it is in memory. */
  get inMemory(): Uint8Array | null {
    return this.puts.length === 0 ? this.held.subarray(0, this.size) : null;
  }

  /** Adds bytes, which may be overwritten once this resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.puts.length === 0 && this.size + bytes.length <= HELD_BYTES) {
      this.hold(bytes);
    } else {
      if (this.puts.length === 0) {
        await this.send(this.held.subarray(0, this.size), 0);
      }
      await this.send(bytes, this.size);
    }
    this.size += bytes.length;
  }

  /** Resolves when everything can be read. Nothing is added after that. */
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

  /** `length` bytes from `offset`, or as many as there are; valid until the next read. Read in turn (`inTurn`). */
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
        throw new Error('what was spooled is not in R2');
      }
      memory = value.buffer;
      filled += value.length;
    }
    this.held = new Uint8Array(memory);
    return this.held.subarray(0, wanted);
  }

  /** Does work that reads when the work before has ended: there is memory for one of them. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => {});
    return done;
  }

  /** The same as a stream, of a length that R2 knows. Whoever needs no more of it cancels it. */
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

  /** Deletes what is in R2, and gives up what is on its way there. Never rejects: the sweep deletes what is left. */
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
      const room = new Uint8Array(Math.min(HELD_BYTES, Math.max(needed, 2 * this.held.length)));
      room.set(this.held.subarray(0, this.size));
      this.held = room;
    }
    this.held.set(bytes, this.size);
  }

  /** Writes bytes that begin at `start` of the spool, to as many objects as they need. */
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
    // Whoever writes or ends it is told.
    void Promise.allSettled([stored, failed, writer.closed]);
    const put = { key, start, length, written: 0, writer, stored, failed };
    this.puts.push(put);
    return put;
  }

  /** Which ranges of which objects hold these bytes. */
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
      throw new Error('what was spooled is not in R2');
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
