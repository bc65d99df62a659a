/**
 * Parses a file without loading it: a parser requests the bytes that it needs next, and receives them from memory or
 * from storage. The same parsers read a small file in memory and a large file in R2.
 */

/** The bytes that a parser requests: `length` bytes from `offset`, within the file. */
export type ByteRange = { offset: number; length: number };

/**
 * A parser receives the bytes from the requested offset: at least the requested number, or fewer if they are not
 * available. They may be overwritten after the next request.
 */
export type Parser<Answer> = Generator<ByteRange, Answer, Uint8Array>;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The most reads of one parser, from memory or storage. It stops files with millions of tiny parts, which are made to
 * keep a parser busy. An hour of video in one GIF takes half as many.
 */
export const MAX_STEPS = 1_000_000;

/** Reads a file for a parser, and holds the bytes that were received last. `size`: of the whole file, in bytes. */
export class Cursor {
  readonly size: number;
  private start = 0;
  private window: Uint8Array = new Uint8Array();
  private view = viewOf(this.window);
  private steps = 0;

  constructor(size: number) {
    this.size = size;
  }

  /**
   * Whether the parser rejected the file, or made more than `MAX_STEPS` reads. Further reads return nothing, as at the
   * end of the file.
   */
  get rejected(): boolean {
    return this.steps > MAX_STEPS;
  }

  /** Rejects the file, because no regular program writes such a file. */
  reject(): void {
    this.steps = MAX_STEPS + 1;
  }

  /** Returns a copy of `length` bytes from `offset`; null if the file ends before the last of them. */
  *bytes(offset: number, length: number): Parser<DataView | null> {
    if (!(yield* this.fetch(offset, length))) {
      return null;
    }
    const from = offset - this.start;
    return new DataView(this.window.slice(from, from + length).buffer);
  }

  /** Returns one byte; undefined at the end of the file. */
  *byte(offset: number): Parser<number | undefined> {
    return (yield* this.fetch(offset, 1)) ? this.at(offset) : undefined;
  }

  /** Loads these bytes; returns false if the file ends before the last of them or was rejected. */
  private *fetch(offset: number, length: number): Parser<boolean> {
    this.steps += 1;
    if (offset + length > this.size || this.rejected) {
      return false;
    }
    if (!this.holds(offset, length)) {
      this.window = yield { offset, length };
      this.view = viewOf(this.window);
      this.start = offset;
    }
    return this.holds(offset, length);
  }

  /** Whether these bytes are loaded. */
  holds(offset: number, length: number): boolean {
    return offset >= this.start && offset + length <= this.start + this.window.length;
  }

  /** Returns a loaded byte. It is fast enough for loops over millions of bytes. */
  at(offset: number): number {
    return this.view.getUint8(offset - this.start);
  }

  /** Returns the next offset of `pattern`, starting at `offset`; null if there is none. */
  *find(pattern: Uint8Array, offset: number): Parser<number | null> {
    return yield* this.search(offset, pattern.length, (bytes, from) => indexOf(bytes, pattern, from));
  }

  /**
   * Returns the next offset at which `match` finds something, starting at `offset`. `match` gets bytes and a start
   * index, and returns an index or -1. It needs `span` bytes to recognize a match.
   */
  *search(offset: number, span: number, match: (bytes: Uint8Array, from: number) => number): Parser<number | null> {
    for (let from = offset; ;) {
      if (!(yield* this.fetch(from, span))) {
        return null;
      }
      const found = match(this.window, from - this.start);
      if (found !== -1) {
        return this.start + found;
      }
      from = this.start + this.window.length - span + 1;
    }
  }
}

/** Returns the next index of the whole `pattern` in `bytes`; -1 if there is none. */
function indexOf(bytes: Uint8Array, pattern: Uint8Array, from: number): number {
  const [first = 0] = pattern;
  for (let at = bytes.indexOf(first, from); at !== -1; at = bytes.indexOf(first, at + 1)) {
    let same = 1;
    while (same < pattern.length && bytes[at + same] === pattern[same]) {
      same += 1;
    }
    if (same === pattern.length) {
      return at;
    }
  }
  return -1;
}

/** Returns the bytes of a Latin-1 text, so that signatures look as in their specifications. */
export const latin1 = (pattern: string): Uint8Array => Uint8Array.from(pattern, (char) => char.charCodeAt(0));

/** Returns some bytes as Latin-1 text, the encoding of signatures and names of chunks. */
export function text(view: DataView, offset: number, length: number): string {
  let found = '';
  for (let at = offset; at < offset + length; at += 1) {
    found += String.fromCharCode(view.getUint8(at));
  }
  return found;
}

/** Runs a parser on the beginning of a file, or on all of it. `unfinished` if the parser needs more bytes. */
export function parseBeginning<Answer>(parser: Parser<Answer>, bytes: Uint8Array): Answer | 'unfinished' {
  for (let step = parser.next(); ;) {
    if (step.done === true) {
      return step.value;
    }
    const { offset, length } = step.value;
    if (offset + length > bytes.length) {
      return 'unfinished';
    }
    step = parser.next(bytes.subarray(offset));
  }
}

/**
 * Reads bytes of a file: all requested bytes, or fewer at the end of the file. The next read may overwrite them.
 */
export type Read = (offset: number, length: number) => Promise<Uint8Array>;

/**
 * The number of bytes that are read at once: the minimum after a jump in the file, the maximum for consecutive reads.
 */
const MIN_WINDOW_BYTES = 64 * 1024;
const MAX_WINDOW_BYTES = 1024 * 1024;
/**
 * The most reads of one file. A request to the gateway can make 1,000 calls in total (reference/cloudflare.md
 * section 4).
 */
const MAX_READS = 500;
/** The most bytes that are read of one file. Reading them takes seconds, not minutes. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;

/** Runs a parser on a file in storage. `unfinished` if it takes more than `MAX_READS` or `MAX_READ_BYTES`. */
export async function parseStored<Answer>(parser: Parser<Answer>, read: Read): Promise<Answer | 'unfinished'> {
  let end = 0;
  let window = MIN_WINDOW_BYTES;
  let reads = 0;
  let total = 0;
  for (let step = parser.next(); ;) {
    if (step.done === true) {
      return step.value;
    }
    reads += 1;
    if (reads > MAX_READS || total > MAX_READ_BYTES) {
      return 'unfinished';
    }
    const { offset, length } = step.value;
    const isNear = Math.abs(offset - end) <= window;
    window = isNear ? Math.min(MAX_WINDOW_BYTES, window * 2) : MIN_WINDOW_BYTES;
    const bytes = await read(offset, Math.max(length, window));
    end = offset + bytes.length;
    total += bytes.length;
    step = parser.next(bytes);
  }
}
