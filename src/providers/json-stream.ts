import { JSON_ESCAPES } from '../lib/json-escapes.ts';

/**
 * Reads JSON as it arrives, for responses that contain megabytes of base64. A string for which the caller has a sink is
 * passed to it piece by piece. Everything else becomes a value as from `JSON.parse`, within the limits below. Memory is
 * one chunk of the body and the values within those limits.
 *
 * Own code: `@streamparser/json` 0.0.26 emits a string of 20 MB as a whole, repeatedly while it grows, and has no
 * limits.
 */

/** The path of a value: keys and indexes from the root. */
export type JsonPath = readonly (string | number)[];

/** Receives one string, unescaped, in pieces. The result of `end` replaces the string in the value. */
export type TextSink = {
  write(piece: string): Promise<void> | void;
  end(): Promise<unknown>;
};

/** Limits of the result. Strings beyond them are cut and values are dropped, so a large response is not an error. */
const MAX_TEXT_CHARS = 16_384;
const MAX_KEPT_CHARS = 1_000_000;
const MAX_VALUES = 20_000;
const MAX_DEPTH = 32;
/** Values directly in the root have a limit of their own, so that a large list before them does not displace them. */
const MAX_ROOT_VALUES = 64;
/** The longest number or literal. Every double fits. */
const MAX_TOKEN_CHARS = 400;
/** Deeper nesting is an error, because each level costs memory. */
const MAX_NESTING = 10_000;

/** The body is not JSON, or ended early. */
export class JsonStreamError extends Error {}

/**
 * Reads one JSON value. Rejects with `JsonStreamError` if the body is not JSON, and with any error of the body or of a
 * sink.
 * @param sinkFor called at the beginning of every string value; null keeps the string in the value
 */
export async function readJsonStream(
  body: ReadableStream<Uint8Array>,
  sinkFor: (path: JsonPath) => TextSink | null,
): Promise<unknown> {
  const reader = new Reader(sinkFor);
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

/** The tokens that are allowed next, apart from white space. */
type Expect = 'value' | 'value or ]' | 'key or }' | 'key' | ':' | ', or end' | 'nothing';

type OpenText = { key: boolean; sink: TextSink | null; text: string; escape: string };

const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
]);
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

class Reader {
  private readonly sinkFor: (path: JsonPath) => TextSink | null;
  private readonly frames: Frame[] = [];
  private expect: Expect = 'value';
  private text: OpenText | null = null;
  private token = '';
  private root: unknown = undefined;
  private values = 0;
  private rootValues = 0;
  private chars = 0;

  constructor(sinkFor: (path: JsonPath) => TextSink | null) {
    this.sinkFor = sinkFor;
  }

  async push(chunk: string): Promise<void> {
    let at = 0;
    while (at < chunk.length) {
      if (this.text !== null) {
        at = await this.readText(this.text, chunk, at);
        continue;
      }
      const char = chunk.charAt(at);
      if (this.token !== '' && /[^\s,\]}:"[{]/.test(char)) {
        this.token += char;
        if (this.token.length > MAX_TOKEN_CHARS) {
          throw new JsonStreamError('A number or literal is too long.');
        }
        at += 1;
        continue;
      }
      this.endToken();
      this.readStructure(char);
      at += 1;
    }
  }

  end(): unknown {
    this.endToken();
    if (this.expect !== 'nothing') {
      throw new JsonStreamError('The body ended early.');
    }
    return this.root;
  }

  /** Reads one character outside strings, numbers and literals. */
  private readStructure(char: string): void {
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
        this.expectValue();
        this.text = { key: false, sink: this.sinkFor(this.path()), text: '', escape: '' };
        return;
      case '{':
        this.expectValue();
        this.open({ kind: 'object', value: this.reserveValue() ? {} : null, key: null }, 'key or }');
        return;
      case '[':
        this.expectValue();
        this.open({ kind: 'array', value: this.reserveValue() ? [] : null, index: 0 }, 'value or ]');
        return;
      case '}':
        if (top?.kind !== 'object' || (expect !== 'key or }' && expect !== ', or end')) {
          throw new JsonStreamError('Unexpected "}".');
        }
        this.close();
        return;
      case ']':
        if (top?.kind !== 'array' || (expect !== 'value or ]' && expect !== ', or end')) {
          throw new JsonStreamError('Unexpected "]".');
        }
        this.close();
        return;
      case ',':
        if (top === undefined || expect !== ', or end') {
          throw new JsonStreamError('Unexpected comma.');
        }
        if (top.kind === 'array') {
          top.index += 1;
        }
        this.expect = top.kind === 'array' ? 'value' : 'key';
        return;
      case ':':
        if (expect !== ':') {
          throw new JsonStreamError('Unexpected colon.');
        }
        this.expect = 'value';
        return;
      default:
        this.expectValue();
        this.token = char;
    }
  }

  private expectValue(): void {
    if (this.expect !== 'value' && this.expect !== 'value or ]') {
      throw new JsonStreamError('Unexpected value.');
    }
  }

  private open(frame: Frame, expect: Expect): void {
    if (this.frames.length >= MAX_NESTING) {
      throw new JsonStreamError('The nesting is too deep.');
    }
    this.frames.push(frame);
    this.expect = expect;
  }

  private close(): void {
    const frame = this.frames.pop();
    this.placeValue(frame?.value, frame?.value !== null);
  }

  private endToken(): void {
    const { token } = this;
    if (token === '') {
      return;
    }
    this.token = '';
    if (WORDS.has(token)) {
      this.placeValue(WORDS.get(token), this.reserveValue());
    } else if (NUMBER.test(token)) {
      this.placeValue(Number(token), this.reserveValue());
    } else {
      throw new JsonStreamError('Unexpected token.');
    }
  }

  /** Reads a part of a string, and returns the position after it. */
  private async readText(open: OpenText, chunk: string, from: number): Promise<number> {
    if (open.escape !== '') {
      open.escape += chunk.charAt(from);
      await this.unescape(open);
      return from + 1;
    }
    const quote = chunk.indexOf('"', from);
    const end = quote === -1 ? chunk.length : quote;
    // The search for an escape ends with this string: a chunk can contain thousands of short strings.
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
      this.placeValue(open.sink === null ? open.text : await open.sink.end(), this.reserveValue());
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
        throw new JsonStreamError('Invalid escape sequence.');
      }
      open.escape = '';
      await this.addText(open, String.fromCharCode(Number.parseInt(code.slice(1), 16)));
      return;
    }
    const plain = JSON_ESCAPES.get(code);
    if (plain === undefined) {
      throw new JsonStreamError('Invalid escape sequence.');
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

  /** Counts one more value, and returns whether it is within the limits. */
  private reserveValue(): boolean {
    if (this.inRoot()) {
      this.rootValues += 1;
      return this.rootValues <= MAX_ROOT_VALUES;
    }
    this.values += 1;
    return this.values <= MAX_VALUES && this.frames.length < MAX_DEPTH;
  }

  /** Adds a complete value to its parent, unless it was dropped. */
  private placeValue(value: unknown, kept: boolean): void {
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
