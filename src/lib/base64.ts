/** The head of a data URL, before its base64. Its media type is ignored: the type comes from the bytes. */
export const DATA_URL = /^data:[^,]{0,200};base64,/;
/** The comma of a data URL comes within these characters. */
export const MAX_DATA_URL_CHARS = 220;
const SCHEME = 'data:';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** The six bits of each base64 character. Other characters are negative, and stay so when shifted and combined. */
const SIX_BITS = new Int32Array(256).fill(-1);
for (const [value, char] of [...ALPHABET].entries()) {
  SIX_BITS[char.charCodeAt(0)] = value;
}
const PAD = 0x3d;
const isBlank = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d && byte !== 0x0b);

/** Whether more groups may follow, one more `=` must follow, or the text has ended. */
type State = 'open' | 'one more pad' | 'ended';

/**
 * Base64 decoded as it arrives, with padding and no bit too many (RFC 4648 sections 3.5 and 4); white space is ignored.
 * It is decoded by hand because the engine's decoder reads strings, and the strings of a large body would be megabytes
 * of garbage.
 */
export class Base64Stream {
  private bits = 0;
  private count = 0;
  private state: State = 'open';
  private memory = new Uint8Array(0);

  /** Returns the bytes decoded so far, valid until the next piece; null if the text is not base64. */
  push(text: Uint8Array): Uint8Array | null {
    const most = 3 * Math.ceil((text.length + this.count) / 4);
    if (this.memory.length < most) {
      this.memory = new Uint8Array(most);
    }
    let out = 0;
    for (let at = 0; at < text.length;) {
      if (this.count === 0 && this.state === 'open') {
        const read = decodeGroups(text, at, this.memory, out);
        at += read;
        out += (read / 4) * 3;
        if (at === text.length) {
          break;
        }
      }
      const byte = text[at] ?? 0;
      at += 1;
      if (isBlank(byte)) {
        continue;
      }
      const known = this.take(byte, out);
      if (known === null) {
        return null;
      }
      out += known;
    }
    return this.memory.subarray(0, out);
  }

  /** Whether the text may end here. */
  get complete(): boolean {
    return this.count === 0 && this.state !== 'one more pad';
  }

  /** Decodes one character, and returns the number of bytes written at `out`. */
  private take(byte: number, out: number): number | null {
    if (byte === PAD) {
      return this.pad(out);
    }
    const six = SIX_BITS[byte] ?? -1;
    if (six < 0 || this.state !== 'open') {
      return null;
    }
    this.bits = (this.bits << 6) | six;
    this.count += 1;
    return this.count === 4 ? this.give(out, 24, 3) : 0;
  }

  /** Handles the first `=`, which ends the last group: two characters encode one byte, three encode two. */
  private pad(out: number): number | null {
    if (this.state === 'one more pad') {
      this.state = 'ended';
      return 0;
    }
    const spare = this.count === 2 ? 4 : 2;
    if (this.state !== 'open' || this.count < 2 || (this.bits & ((1 << spare) - 1)) !== 0) {
      return null;
    }
    this.state = this.count === 2 ? 'one more pad' : 'ended';
    const length = this.count - 1;
    this.bits >>= spare;
    return this.give(out, 8 * length, length);
  }

  private give(out: number, bits: number, length: number): number {
    for (let byte = 0; byte < length; byte += 1) {
      this.memory[out + byte] = this.bits >> (bits - 8 * (byte + 1));
    }
    this.bits = 0;
    this.count = 0;
    return length;
  }
}

/** Decodes groups of four characters up to the first other character. Returns the number of decoded characters. */
function decodeGroups(text: Uint8Array, from: number, into: Uint8Array, start: number): number {
  let at = from;
  for (let out = start; at + 4 <= text.length; at += 4, out += 3) {
    const group =
      (sixOf(text, at) << 18) | (sixOf(text, at + 1) << 12) | (sixOf(text, at + 2) << 6) | sixOf(text, at + 3);
    if (group < 0) {
      break;
    }
    into[out] = group >> 16;
    into[out + 1] = group >> 8;
    into[out + 2] = group;
  }
  return at - from;
}

const sixOf = (text: Uint8Array, at: number): number => SIX_BITS[text[at] ?? 0] ?? -1;

/** The same for a file from a client: base64, or a data URL with base64. */
export class Base64File {
  private readonly base64 = new Base64Stream();
  /** The beginning of the text, until it is known whether the text is a data URL; then null. */
  private beginning: string | null = '';

  /** Returns the bytes decoded so far, valid until the next piece; null if the text is neither. */
  push(text: Uint8Array): Uint8Array | null {
    if (this.beginning === null) {
      return this.base64.push(text);
    }
    const looked = Math.min(text.length, MAX_DATA_URL_CHARS);
    const all = this.beginning + String.fromCharCode(...text.subarray(0, looked));
    const isUrl = all.startsWith(SCHEME);
    if (!isUrl && !SCHEME.startsWith(all)) {
      return this.decide(all, text.subarray(looked));
    }
    const prefix = isUrl ? DATA_URL.exec(all)?.[0] : undefined;
    if (prefix !== undefined) {
      return this.decide(all.slice(prefix.length), text.subarray(looked));
    }
    this.beginning = all;
    return isUrl && (all.length > MAX_DATA_URL_CHARS || looked < text.length) ? null : new Uint8Array();
  }

  /** Returns the last bytes; null if the text is neither, or incomplete. */
  end(): Uint8Array | null {
    const { beginning } = this;
    if (beginning?.startsWith(SCHEME) === true) {
      return null;
    }
    const last = beginning === null ? new Uint8Array() : this.decide(beginning, new Uint8Array());
    return this.base64.complete ? last : null;
  }

  private decide(first: string, rest: Uint8Array): Uint8Array | null {
    this.beginning = null;
    const text = new Uint8Array(first.length + rest.length);
    text.set(Uint8Array.from(first, (char) => char.charCodeAt(0)));
    text.set(rest, first.length);
    return this.base64.push(text);
  }
}
