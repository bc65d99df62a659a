import { JSON_ESCAPES } from '../lib/json-escapes.ts';

/**
 * JSON read as it arrives, for answers that may hold megabytes of base64: strings that the reader wants are handed on piece by
 * piece, everything else becomes a value as from `JSON.parse`, within bounds. Memory stays at one chunk of the body and those bounds.
 *
 * Own code: `@streamparser/json` 0.0.26 gives a string of 20 MB as a whole, again and again as it grows, and has no bounds.
 */

/** Where a value is: keys and indexes from the root. */
export type JsonPath = readonly (string | number)[];

/** Takes one string, unescaped, in pieces. What `end` gives stands in the value for the string. */
export type TextSink = {
  write(piece: string): Promise<void> | void;
  end(): Promise<unknown>;
};

/** Bounds of what is kept. Beyond them strings are cut and values dropped: the reader never fails for the size of an answer. */
const MAX_TEXT_CHARS = 16_384;
const MAX_KEPT_CHARS = 1_000_000;
const MAX_VALUES = 20_000;
const MAX_DEPTH = 32;
/** What the root itself holds has room of its own: the few facts of an answer must not be lost to a large list before them. */
const MAX_ROOT_VALUES = 64;
/** Longest number or word: more than any double needs. */
const MAX_TOKEN_CHARS = 400;
/** Nesting beyond this is nobody's answer. */
const MAX_NESTING = 10_000;

/** The body is not JSON, or ended early. */
export class JsonStreamError extends Error {}

/**
 * Reads one JSON value. Rejects with `JsonStreamError` for what is no JSON, and with what the body or a sink rejects with.
 * @param take asked at the beginning of every string value; null keeps the string in the value.
 */
export async function readJsonStream(
  body: ReadableStream<Uint8Array>,
  take: (path: JsonPath) => TextSink | null,
): Promise<unknown> {
  const reader = new Reader(take);
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    await reader.push(decoder.decode(chunk, { stream: true }));
  }
  await reader.push(decoder.decode());
  return reader.end();
}

type Frame =
  | { kind: 'object'; value: Record<string, unknown> | null; key: string | null }
  | { kind: 'array'; value: unknown[] | null; index: number };

/** What may come next, beside white space. */
type Expect = 'value' | 'value or ]' | 'key or }' | 'key' | ':' | ', or end' | 'nothing';

type OpenText = { key: boolean; sink: TextSink | null; text: string; escape: string };

const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
]);
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

class Reader {
  private readonly take: (path: JsonPath) => TextSink | null;
  private readonly frames: Frame[] = [];
  private expect: Expect = 'value';
  private text: OpenText | null = null;
  private token = '';
  private root: unknown = undefined;
  private values = 0;
  private rootValues = 0;
  private chars = 0;

  constructor(take: (path: JsonPath) => TextSink | null) {
    this.take = take;
  }

  async push(chunk: string): Promise<void> {
    let at = 0;
    while (at < chunk.length) {
      if (this.text !== null) {
        at = await this.inText(this.text, chunk, at);
        continue;
      }
      const char = chunk.charAt(at);
      if (this.token !== '' && /[^\s,\]}:"[{]/.test(char)) {
        this.token += char;
        if (this.token.length > MAX_TOKEN_CHARS) {
          throw new JsonStreamError('a number or word is too long');
        }
        at += 1;
        continue;
      }
      this.endToken();
      this.structure(char);
      at += 1;
    }
  }

  end(): unknown {
    this.endToken();
    if (this.expect !== 'nothing') {
      throw new JsonStreamError('the body ended early');
    }
    return this.root;
  }

  /** One character outside strings and tokens. */
  private structure(char: string): void {
    const { expect } = this;
    const top = this.frames.at(-1);
    switch (char) {
      case ' ':
      case '\n':
      case '\r':
      case '\t':
        return;
      case '"':
        if (expect === 'key' || expect === 'key or }') {
          this.text = { key: true, sink: null, text: '', escape: '' };
          return;
        }
        this.wantsValue();
        this.text = { key: false, sink: this.take(this.path()), text: '', escape: '' };
        return;
      case '{':
        this.wantsValue();
        this.open({ kind: 'object', value: this.admits() ? {} : null, key: null }, 'key or }');
        return;
      case '[':
        this.wantsValue();
        this.open({ kind: 'array', value: this.admits() ? [] : null, index: 0 }, 'value or ]');
        return;
      case '}':
        if (top?.kind !== 'object' || (expect !== 'key or }' && expect !== ', or end')) {
          throw new JsonStreamError('a } out of place');
        }
        this.close();
        return;
      case ']':
        if (top?.kind !== 'array' || (expect !== 'value or ]' && expect !== ', or end')) {
          throw new JsonStreamError('a ] out of place');
        }
        this.close();
        return;
      case ',':
        if (top === undefined || expect !== ', or end') {
          throw new JsonStreamError('a comma out of place');
        }
        if (top.kind === 'array') {
          top.index += 1;
        }
        this.expect = top.kind === 'array' ? 'value' : 'key';
        return;
      case ':':
        if (expect !== ':') {
          throw new JsonStreamError('a colon out of place');
        }
        this.expect = 'value';
        return;
      default:
        this.wantsValue();
        this.token = char;
    }
  }

  private wantsValue(): void {
    if (this.expect !== 'value' && this.expect !== 'value or ]') {
      throw new JsonStreamError('a value out of place');
    }
  }

  private open(frame: Frame, expect: Expect): void {
    if (this.frames.length >= MAX_NESTING) {
      throw new JsonStreamError('nested too deep');
    }
    this.frames.push(frame);
    this.expect = expect;
  }

  private close(): void {
    const frame = this.frames.pop();
    this.put(frame?.value, frame?.value !== null);
  }

  private endToken(): void {
    const { token } = this;
    if (token === '') {
      return;
    }
    this.token = '';
    if (WORDS.has(token)) {
      this.put(WORDS.get(token), this.admits());
    } else if (NUMBER.test(token)) {
      this.put(Number(token), this.admits());
    } else {
      throw new JsonStreamError('no JSON value');
    }
  }

  /** Consumes what it can of a string; returns where it stopped. */
  private async inText(open: OpenText, chunk: string, from: number): Promise<number> {
    if (open.escape !== '') {
      open.escape += chunk.charAt(from);
      await this.unescape(open);
      return from + 1;
    }
    const quote = chunk.indexOf('"', from);
    const end = quote === -1 ? chunk.length : quote;
    // Only as far as the string goes: a chunk may hold thousands of short ones.
    const piece = chunk.slice(from, end);
    const slash = piece.indexOf('\\');
    if (slash !== -1) {
      await this.addText(open, piece.slice(0, slash));
      open.escape = '\\';
      return from + slash + 1;
    }
    await this.addText(open, piece);
    if (quote === -1) {
      return end;
    }
    this.text = null;
    if (open.key) {
      const top = this.frames.at(-1);
      if (top?.kind === 'object') {
        top.key = open.text;
      }
      this.expect = ':';
    } else {
      this.put(open.sink === null ? open.text : await open.sink.end(), this.admits());
    }
    return end + 1;
  }

  private async unescape(open: OpenText): Promise<void> {
    const code = open.escape.slice(1);
    if (code.startsWith('u')) {
      if (code.length < 5) {
        return;
      }
      if (!/^u[0-9a-fA-F]{4}$/.test(code)) {
        throw new JsonStreamError('no escape of JSON');
      }
      open.escape = '';
      await this.addText(open, String.fromCharCode(Number.parseInt(code.slice(1), 16)));
      return;
    }
    const plain = JSON_ESCAPES.get(code);
    if (plain === undefined) {
      throw new JsonStreamError('no escape of JSON');
    }
    open.escape = '';
    await this.addText(open, plain);
  }

  private async addText(open: OpenText, piece: string): Promise<void> {
    if (piece === '') {
      return;
    }
    if (open.sink !== null) {
      await open.sink.write(piece);
      return;
    }
    const left = this.inRoot() ? MAX_TEXT_CHARS : MAX_KEPT_CHARS - this.chars;
    const kept = piece.slice(0, Math.max(0, Math.min(MAX_TEXT_CHARS - open.text.length, left)));
    open.text += kept;
    this.chars += this.inRoot() ? 0 : kept.length;
  }

  private inRoot(): boolean {
    return this.frames.length <= 1;
  }

  /** Whether there is room for one more value here; if so, it is taken. */
  private admits(): boolean {
    if (this.inRoot()) {
      this.rootValues += 1;
      return this.rootValues <= MAX_ROOT_VALUES;
    }
    this.values += 1;
    return this.values <= MAX_VALUES && this.frames.length < MAX_DEPTH;
  }

  /** A value is complete: it goes where it belongs, or nowhere. */
  private put(value: unknown, kept: boolean): void {
    const top = this.frames.at(-1);
    this.expect = top === undefined ? 'nothing' : ', or end';
    if (top === undefined) {
      this.root = value;
    } else if (top.value !== null && kept) {
      if (top.kind === 'array') {
        top.value.push(value);
      } else if (top.key !== null && top.key !== '__proto__') {
        top.value[top.key] = value;
      }
    }
  }

  private path(): JsonPath {
    return this.frames.map((frame) => (frame.kind === 'array' ? frame.index : (frame.key ?? '')));
  }
}
