import { Base64Stream, DATA_URL, MAX_DATA_URL_CHARS } from '../../../lib/base64.ts';
import { ExtractedText } from './output.ts';
import type { TextSink } from '../../json-stream.ts';
import type { ResultFile } from '../../../storage/r2/result-file.ts';

/** URLs are cut at this length, in characters. It exceeds the limit of domain/net/public-url.ts, which rejects them. */
const MAX_URL_CHARS = 2_100;
/** The beginning of every string is kept, in case the string is a message and not a file. */
const HEAD_CHARS = 2_000;
/** The length of `https:`. This many characters distinguish a URL from base64, which contains no colon. */
const URL_SCHEME_CHARS = 6;

/**
 * Receives a string of the record while it is read. Base64, plain or as a data URL, is decoded piece by piece into a
 * file in R2. A URL is kept for a later download. Any other text is kept only up to `HEAD_CHARS`.
 */
export class Base64Sink implements TextSink {
  private readonly open: () => ResultFile;
  private mode: 'undecided' | 'base64' | 'url' | 'other' = 'undecided';
  private head = '';
  /** The whole text while `mode` is undecided, or the URL. */
  private text = '';
  private readonly base64 = new Base64Stream();
  private readonly encoder = new TextEncoder();
  private file: ResultFile | null = null;

  constructor(open: () => ResultFile) {
    this.open = open;
  }

  async write(piece: string): Promise<void> {
    this.head = appendWithin(this.head, piece, HEAD_CHARS);
    switch (this.mode) {
      case 'undecided':
        this.text += piece;
        await this.decide(false);
        return;
      case 'base64':
        await this.decode(piece);
        return;
      case 'url':
        this.text = appendWithin(this.text, piece, MAX_URL_CHARS);
        return;
      case 'other':
    }
  }

  async end(): Promise<ExtractedText> {
    if (this.mode === 'undecided') {
      await this.decide(true);
    }
    const { head, file } = this;
    if (this.mode === 'url') {
      return new ExtractedText({ kind: 'url', url: this.text.trim(), head });
    }
    if (this.mode === 'base64' && file !== null && this.base64.complete) {
      return new ExtractedText({ kind: 'file', file: await file.finish(), head });
    }
    await file?.discard();
    return new ExtractedText({ kind: 'other', head });
  }

  private async decide(last: boolean): Promise<void> {
    const text = this.text.trimStart();
    if (/^https?:/i.test(text)) {
      this.mode = 'url';
      return;
    }
    const prefix = DATA_URL.exec(text)?.[0] ?? '';
    if (text.startsWith('data:') && prefix === '') {
      this.mode = last || text.length > MAX_DATA_URL_CHARS ? 'other' : 'undecided';
      return;
    }
    if (last || text.length >= URL_SCHEME_CHARS) {
      this.mode = 'base64';
      this.text = '';
      await this.decode(text.slice(prefix.length));
    }
  }

  private async decode(piece: string): Promise<void> {
    const bytes = this.base64.push(this.encoder.encode(piece));
    if (bytes === null) {
      await this.file?.discard();
      this.file = null;
      this.mode = 'other';
    } else if (bytes.length > 0) {
      this.file ??= this.open();
      await this.file.write(bytes);
    }
  }
}

/** Stores a string that is a result itself in a file, as UTF-8. */
export class PlainSink implements TextSink {
  private readonly open: () => ResultFile;
  private readonly encoder = new TextEncoder();
  private head = '';
  /** The first half of a surrogate pair that is split between two pieces. */
  private pendingSurrogate = '';
  private file: ResultFile | null = null;

  constructor(open: () => ResultFile) {
    this.open = open;
  }

  async write(piece: string): Promise<void> {
    this.head = appendWithin(this.head, piece, HEAD_CHARS);
    const text = this.pendingSurrogate + piece;
    const end = /[\uD800-\uDBFF]$/.test(text) ? text.length - 1 : text.length;
    this.pendingSurrogate = text.slice(end);
    this.file ??= this.open();
    await this.file.write(this.encoder.encode(text.slice(0, end)));
  }

  async end(): Promise<ExtractedText> {
    const { file, head } = this;
    if (file === null) {
      return new ExtractedText({ kind: 'other', head });
    }
    await file.write(this.encoder.encode(this.pendingSurrogate));
    return new ExtractedText({ kind: 'file', file: await file.finish(), head });
  }
}

const appendWithin = (text: string, piece: string, maxChars: number): string =>
  text + piece.slice(0, Math.max(0, maxChars - text.length));
