import { Base64Stream, DATA_URL, MAX_DATA_URL_CHARS } from '../../../lib/base64.ts';
import { Taken } from './output.ts';
import type { TextSink } from '../../json-stream.ts';
import type { ResultFile } from '../../../storage/r2/result-file.ts';

/** Longest URL that is taken, in characters (domain/net/public-url.ts); one that is longer is kept a little longer still, and refused there. */
const MAX_URL_CHARS = 2_100;
/** How much of a text is kept besides, in case it is a message and no file. */
const HEAD_CHARS = 2_000;
/** A URL can be told from base64 by so many characters: base64 has no colon. */
const TELLING_CHARS = 6;

/**
 * Takes a text out of an answer while it is read: base64, bare or as a data URL, is decoded in slices straight into a file in R2;
 * a URL is kept to be fetched; anything else is neither.
 */
export class Base64Sink implements TextSink {
  private readonly open: () => ResultFile;
  private mode: 'undecided' | 'base64' | 'url' | 'neither' = 'undecided';
  private head = '';
  /** All of the text while it is undecided, or the URL. */
  private text = '';
  private readonly base64 = new Base64Stream();
  private readonly encoder = new TextEncoder();
  private file: ResultFile | null = null;

  constructor(open: () => ResultFile) {
    this.open = open;
  }

  async write(piece: string): Promise<void> {
    this.head = kept(this.head, piece, HEAD_CHARS);
    switch (this.mode) {
      case 'undecided':
        this.text += piece;
        await this.decide(false);
        return;
      case 'base64':
        await this.decode(piece);
        return;
      case 'url':
        this.text = kept(this.text, piece, MAX_URL_CHARS);
        return;
      case 'neither':
    }
  }

  async end(): Promise<Taken> {
    if (this.mode === 'undecided') {
      await this.decide(true);
    }
    const { head, file } = this;
    if (this.mode === 'url') {
      return new Taken({ kind: 'url', url: this.text.trim(), head });
    }
    if (this.mode === 'base64' && file !== null && this.base64.complete) {
      return new Taken({ kind: 'file', file: await file.finish(), head });
    }
    await file?.discard();
    return new Taken({ kind: 'neither', head });
  }

  private async decide(last: boolean): Promise<void> {
    const text = this.text.trimStart();
    if (/^https?:/i.test(text)) {
      this.mode = 'url';
      return;
    }
    const prefix = DATA_URL.exec(text)?.[0] ?? '';
    if (text.startsWith('data:') && prefix === '') {
      this.mode = last || text.length > MAX_DATA_URL_CHARS ? 'neither' : 'undecided';
      return;
    }
    if (last || text.length >= TELLING_CHARS) {
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
      this.mode = 'neither';
    } else if (bytes.length > 0) {
      this.file ??= this.open();
      await this.file.write(bytes);
    }
  }
}

/** Takes a text that is a result itself into a file, as UTF-8. */
export class PlainSink implements TextSink {
  private readonly open: () => ResultFile;
  private readonly encoder = new TextEncoder();
  private head = '';
  /** The first half of a character whose second half comes with the next piece. */
  private half = '';
  private file: ResultFile | null = null;

  constructor(open: () => ResultFile) {
    this.open = open;
  }

  async write(piece: string): Promise<void> {
    this.head = kept(this.head, piece, HEAD_CHARS);
    const text = this.half + piece;
    const end = /[\uD800-\uDBFF]$/.test(text) ? text.length - 1 : text.length;
    this.half = text.slice(end);
    this.file ??= this.open();
    await this.file.write(this.encoder.encode(text.slice(0, end)));
  }

  async end(): Promise<Taken> {
    const { file, head } = this;
    if (file === null) {
      return new Taken({ kind: 'neither', head });
    }
    await file.write(this.encoder.encode(this.half));
    return new Taken({ kind: 'file', file: await file.finish(), head });
  }
}

const kept = (text: string, piece: string, most: number): string =>
  text + piece.slice(0, Math.max(0, most - text.length));
