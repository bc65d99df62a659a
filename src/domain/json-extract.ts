import { BACKSLASH, QUOTE, unescapeWithin, type Unescaping } from './json-text.ts';

/**
 * Reads JSON as a stream and extracts chosen strings from it. The files of a body go to sinks piece by piece, and only
 * the rest, the document, is kept and parsed later. This code does not validate: a document with a syntax error keeps
 * it, at a known position.
 *
 * Own code: `@streamparser/json` delivers each string as a whole and builds the values, but `JSON.parse` with exact
 * integers must remain the only parser of the document.
 */

/** The path to a string: field names, and `'*'` for any index of a list. */
export type Way = readonly string[];

/**
 * Receives a string piece by piece, as bytes without escapes: ASCII unchanged, and every other character as some
 * non-ASCII bytes. A sink may overwrite a piece until it resolves. The ASCII text that `end` returns replaces the
 * string in the document.
 */
export type TextSink = { write(piece: Uint8Array): Promise<void> | void; end(): Promise<string> | string };

/** A cut in the document: `missing` characters before the character with index `at`. */
export type Cut = { at: number; missing: number };

/** The document as UTF-16, and where it is shorter than the received body. */
export type Extracted = { text: string; cuts: Cut[] };

const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Paths contain no longer names, even when every character is written as an escape. */
const MAX_NAME_CHARS = 64;
/** An open object with the name of its last field, or an open list with the index of its last entry. */
type Frame = { isList: boolean; name: string; index: number };

/** A string that is being extracted. `chars`: the characters missing from the document so far. */
type Taken = Unescaping & { sink: TextSink };

/** Returns a sink for a string. `places`: the list indexes on its path. */
export type OpenSink = (places: number[], way: Way) => TextSink;

/** Reads a body chunk by chunk. Calls `open` for each string that matches one of the paths. */
export class JsonExtractor {
  private readonly ways: readonly Way[];
  private readonly open: OpenSink;
  private readonly deepest: number;
  private readonly frames: Frame[] = [];
  private depth = 0;
  /** In an object: whether the next string is a field name. */
  private atName = false;
  private within: 'nothing' | 'name' | 'text' | 'taken' = 'nothing';
  private name = '';
  /** Whether the last character of the current, not extracted string was a backslash that escapes the next one. */
  private escapes = false;
  private taken: Taken = { sink: { write: () => {}, end: () => '' }, escape: '', chars: 0 };

  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
  private readonly latin1 = new TextDecoder('latin1');
  private readonly encoder = new TextEncoder();
  private readonly texts: string[] = [];
  private readonly cuts: Cut[] = [];
  private chars = 0;
  private bytes = 0;
  private isUtf8 = true;

  constructor(ways: readonly Way[], open: OpenSink) {
    this.ways = ways;
    this.open = open;
    this.deepest = Math.max(0, ...ways.map(({ length }) => length));
  }

  /** The size of the document so far, in bytes. */
  get documentBytes(): number {
    return this.bytes;
  }

  /** Processes the next chunk. The caller may overwrite it once this resolves. */
  async push(chunk: Uint8Array): Promise<void> {
    let kept = 0;
    for (let at = 0; at < chunk.length;) {
      if (this.within === 'nothing') {
        at = this.structure(chunk, at);
      } else if (this.within === 'taken') {
        this.keep(chunk.subarray(kept, at));
        at = await this.take(chunk, at);
        kept = at;
      } else {
        at = this.text(chunk, at);
      }
    }
    this.keep(chunk.subarray(kept));
  }

  /** Returns the document after the last chunk; null when it is not UTF-8. */
  finish(): Extracted | null {
    this.decode(null);
    return this.isUtf8 ? { text: this.texts.join(''), cuts: this.cuts } : null;
  }

  /** Reads up to and including the quote that begins the next string. */
  private structure(chunk: Uint8Array, from: number): number {
    for (let at = from; at < chunk.length; at += 1) {
      switch (chunk[at]) {
        case QUOTE:
          this.beginText();
          return at + 1;
        case OPEN_OBJECT:
          this.openFrame(false);
          break;
        case OPEN_LIST:
          this.openFrame(true);
          break;
        case CLOSE_OBJECT:
        case CLOSE_LIST:
          this.depth = Math.max(0, this.depth - 1);
          this.atName = false;
          break;
        case COMMA:
          this.nextEntry();
          break;
        case COLON:
          this.atName = false;
          break;
        default:
      }
    }
    return chunk.length;
  }

  private openFrame(isList: boolean): void {
    if (this.depth < this.deepest) {
      this.frames[this.depth] = { isList, name: '', index: 0 };
    }
    this.depth += 1;
    this.atName = !isList;
  }

  /** The innermost frame; undefined at the top level, and deeper than any path. */
  private top(): Frame | undefined {
    return this.depth > this.deepest ? undefined : this.frames[this.depth - 1];
  }

  private nextEntry(): void {
    const top = this.top();
    if (top?.isList === true) {
      top.index += 1;
    } else {
      this.atName = true;
    }
  }

  private beginText(): void {
    const top = this.top();
    const isName = this.atName && top?.isList === false;
    const way = isName || top === undefined ? undefined : this.ways.find((each) => this.isAt(each));
    if (way !== undefined) {
      this.within = 'taken';
      const places = this.frames.slice(0, this.depth).flatMap(({ isList, index }) => (isList ? [index] : []));
      this.taken = { sink: this.open(places, way), escape: '', chars: 0 };
    } else {
      this.within = isName ? 'name' : 'text';
      this.name = '';
    }
  }

  private isAt(way: Way): boolean {
    return (
      way.length === this.depth &&
      way.every((step, at) => {
        const frame = this.frames[at];
        return frame !== undefined && (frame.isList ? '*' : frame.name) === step;
      })
    );
  }

  /** Reads a string that stays in the document, up to its end or the end of the chunk. */
  private text(chunk: Uint8Array, from: number): number {
    const end = endOfText(chunk, from, this.escapes);
    if (this.within === 'name' && this.name.length <= MAX_NAME_CHARS) {
      this.name += this.latin1.decode(chunk.subarray(from, Math.min(end, from + MAX_NAME_CHARS + 1)));
    }
    this.escapes = end === chunk.length && backslashesBefore(chunk, this.escapes ? from + 1 : from, end) % 2 === 1;
    if (end === chunk.length) {
      return end;
    }
    const top = this.top();
    if (this.within === 'name' && top !== undefined) {
      top.name = unescapedName(this.name);
    }
    this.within = 'nothing';
    return end + 1;
  }

  /** Reads a string that is extracted, up to its end, the end of the chunk, or a syntax error. */
  private async take(chunk: Uint8Array, from: number): Promise<number> {
    const { taken } = this;
    const { at, out } = unescapeWithin(chunk, from, taken);
    if (out > from) {
      await taken.sink.write(chunk.subarray(from, out));
    }
    if (at === chunk.length) {
      return at;
    }
    if (chunk[at] === QUOTE && taken.escape === '') {
      const instead = await taken.sink.end();
      this.keep(this.encoder.encode(instead));
      this.cut(taken.chars - instead.length);
      this.within = 'nothing';
      // The closing quote stays in the document, after the replacement.
      this.keep(chunk.subarray(at, at + 1));
      return at + 1;
    }
    // A syntax error: the rest goes into the document, where the parser will report it.
    this.cut(taken.chars);
    this.within = 'text';
    this.escapes = false;
    this.keep(this.encoder.encode(taken.escape));
    return at;
  }

  private cut(missing: number): void {
    this.cuts.push({ at: this.chars, missing });
  }

  private keep(bytes: Uint8Array): void {
    if (bytes.length > 0) {
      this.bytes += bytes.length;
      this.decode(bytes);
    }
  }

  /** Adds bytes to the document; `null` ends it. */
  private decode(bytes: Uint8Array | null): void {
    if (!this.isUtf8) {
      return;
    }
    try {
      const text = bytes === null ? this.decoder.decode() : this.decoder.decode(bytes, { stream: true });
      this.texts.push(text);
      this.chars += text.length;
    } catch {
      this.isUtf8 = false;
    }
  }
}

/** The index of the quote that ends the string at `from`; the length of the chunk when there is none. */
function endOfText(chunk: Uint8Array, from: number, isEscaped: boolean): number {
  for (let at = isEscaped ? from + 1 : from; ;) {
    const quote = chunk.indexOf(QUOTE, at);
    if (quote < 0) {
      return chunk.length;
    }
    if (backslashesBefore(chunk, at, quote) % 2 === 0) {
      return quote;
    }
    at = quote + 1;
  }
}

/** Counts the backslashes directly before `end`. Looks back no further than `start`. */
function backslashesBefore(chunk: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && chunk[at - 1] === BACKSLASH) {
    at -= 1;
  }
  return end - at;
}

function unescapedName(raw: string): string {
  try {
    return raw.includes('\\') ? String(JSON.parse(`"${raw}"`)) : raw;
  } catch {
    return raw;
  }
}
