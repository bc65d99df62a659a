/**
 * Walks through a file without holding it: a walk says which bytes it needs next and gets them, from memory or from
 * storage. So the same rules read a small file that is here and a large one that is in R2.
 */

/** Bytes that a walk wants: `length` of them from `offset`, both within the file. */
export type Need = { offset: number; length: number };

/**
 * Is given bytes from the offset it asked for: at least as many as it asked for, or fewer where they cannot be had.
 * They may be overwritten once it asks for more.
 */
export type Walk<Answer> = Generator<Need, Answer, Uint8Array>;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Reads that one walk may make of what it has. Files of millions of tiny parts are made to keep a reader busy; a film
 * of an hour in one GIF takes half as many.
 */
export const MAX_STEPS = 1_000_000;

/** Where a walk stands in its file, and what it has of it. `size` is of the whole file, in bytes. */
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
   * Whether the walk refused the file, or made more than `MAX_STEPS` reads. It gets nothing more, as at the end of the
   * file.
   */
  get refused(): boolean {
    return this.steps > MAX_STEPS;
  }

  /** Ends the walk: the file is none that an ordinary program writes. */
  refuse(): void {
    this.steps = MAX_STEPS + 1;
  }

  /** `length` bytes from `offset`, a copy of them; null where the file ends before. */
  *bytes(offset: number, length: number): Walk<DataView | null> {
    if (!(yield* this.fetch(offset, length))) {
      return null;
    }
    const from = offset - this.start;
    return new DataView(this.window.slice(from, from + length).buffer);
  }

  /** One byte; undefined at the end of the file. */
  *byte(offset: number): Walk<number | undefined> {
    return (yield* this.fetch(offset, 1)) ? this.at(offset) : undefined;
  }

  /** Has these bytes at hand; false where the file ends before. */
  private *fetch(offset: number, length: number): Walk<boolean> {
    this.steps += 1;
    if (offset + length > this.size || this.refused) {
      return false;
    }
    if (!this.holds(offset, length)) {
      this.window = yield { offset, length };
      this.view = viewOf(this.window);
      this.start = offset;
    }
    return this.holds(offset, length);
  }

  /** Whether these bytes are at hand. */
  holds(offset: number, length: number): boolean {
    return offset >= this.start && offset + length <= this.start + this.window.length;
  }

  /** A byte that is at hand: for loops over millions of them. */
  at(offset: number): number {
    return this.view.getUint8(offset - this.start);
  }

  /** Where `pattern` next stands, from `offset` on; null where it does not. */
  *find(pattern: Uint8Array, offset: number): Walk<number | null> {
    return yield* this.search(offset, pattern.length, (bytes, from) => indexOf(bytes, pattern, from));
  }

  /**
   * Where `look` next finds something, from `offset` on. It gets bytes and where to begin in them, answers an index or
   * -1, and needs `span` bytes to know it when it sees it.
   */
  *search(offset: number, span: number, look: (bytes: Uint8Array, from: number) => number): Walk<number | null> {
    for (let from = offset; ;) {
      if (!(yield* this.fetch(from, span))) {
        return null;
      }
      const found = look(this.window, from - this.start);
      if (found !== -1) {
        return this.start + found;
      }
      from = this.start + this.window.length - span + 1;
    }
  }
}

/** Where `wanted` next stands in `bytes`, whole; -1 where it does not. */
function indexOf(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  const [first = 0] = wanted;
  for (let at = bytes.indexOf(first, from); at !== -1; at = bytes.indexOf(first, at + 1)) {
    let same = 1;
    while (same < wanted.length && bytes[at + same] === wanted[same]) {
      same += 1;
    }
    if (same === wanted.length) {
      return at;
    }
  }
  return -1;
}

/** The bytes of a Latin-1 text, so that signatures read as they are documented. */
export const latin1 = (pattern: string): Uint8Array => Uint8Array.from(pattern, (char) => char.charCodeAt(0));

/** Latin-1 text of some bytes: what signatures and names of chunks are written in. */
export function text(view: DataView, offset: number, length: number): string {
  let found = '';
  for (let at = offset; at < offset + length; at += 1) {
    found += String.fromCharCode(view.getUint8(at));
  }
  return found;
}

/** Walks as far as `bytes`, the beginning of the file or all of it, reach. `unfinished` where the walk wants more. */
export function walkBeginning<Answer>(walk: Walk<Answer>, bytes: Uint8Array): Answer | 'unfinished' {
  for (let step = walk.next(); ;) {
    if (step.done === true) {
      return step.value;
    }
    const { offset, length } = step.value;
    if (offset + length > bytes.length) {
      return 'unfinished';
    }
    step = walk.next(bytes.subarray(offset));
  }
}

/**
 * Reads bytes of a file: all that were asked for, but for the end of the file. They may be overwritten by the next
 * read.
 */
export type Read = (offset: number, length: number) => Promise<Uint8Array>;

/**
 * What is read ahead of a walk that jumps, and of one that goes on where it was, in bytes. The latter is held in
 * memory.
 */
const LEAST_WINDOW_BYTES = 64 * 1024;
const MOST_WINDOW_BYTES = 1024 * 1024;
/**
 * Reads for one file. A request to the gateway has 1,000 calls (reference/cloudflare.md section 4), for everything it
 * does.
 */
const MAX_READS = 500;
/** What is read of one file, in bytes: seconds, not minutes. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;

/** Walks through a file in storage. `unfinished` where that takes more than `MAX_READS` or `MAX_READ_BYTES`. */
export async function walkStored<Answer>(walk: Walk<Answer>, read: Read): Promise<Answer | 'unfinished'> {
  let end = 0;
  let window = LEAST_WINDOW_BYTES;
  let reads = 0;
  let total = 0;
  for (let step = walk.next(); ;) {
    if (step.done === true) {
      return step.value;
    }
    reads += 1;
    if (reads > MAX_READS || total > MAX_READ_BYTES) {
      return 'unfinished';
    }
    const { offset, length } = step.value;
    const isNear = Math.abs(offset - end) <= window;
    window = isNear ? Math.min(MOST_WINDOW_BYTES, window * 2) : LEAST_WINDOW_BYTES;
    const bytes = await read(offset, Math.max(length, window));
    end = offset + bytes.length;
    total += bytes.length;
    step = walk.next(bytes);
  }
}
