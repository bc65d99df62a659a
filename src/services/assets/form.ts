import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Reads a form with one file (multipart/form-data, RFC 7578) as a stream. The platform's own parser holds several
 * copies of the whole form in memory.
 */

type Chunks = AsyncGenerator<Uint8Array, void, undefined>;

/** `name`: the file name that the client sent. `chunks` fails with `NotOneFile` when another part follows. */
export type FormFile = { name: string; chunks: Chunks };

/** The body is not a form with one file and nothing else. */
export class NotOneFile extends Error {}

const CR = 0x0d;
/** The most bytes before the content of a part. Clients send a few hundred. */
const MAX_HEAD_BYTES = 16 * 1024;
const HEAD_END = '\r\n\r\n';
/** Follows the last boundary of a form. */
const CLOSE = '--';
/** Decodes each byte to one character, so that positions in the text are positions in the bytes. */
const BYTES = new TextDecoder('latin1');

/** The boundary of a Content-Type, quoted or not (RFC 2046 section 5.1.1); null when it has none. */
export function boundaryOf(contentType: string): string | null {
  const [, quoted, bare] = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i.exec(contentType) ?? [];
  return quoted ?? bare ?? null;
}

/** Reads up to the content of the first part, which must be a file in the field `field`. Rejects when `body` does. */
export async function openForm(body: Chunks, boundary: string, field: string): Promise<Result<FormFile, NotOneFile>> {
  const opening = `--${boundary}\r\n`;
  let head: Uint8Array = new Uint8Array(0);
  for (;;) {
    const next = await body.next();
    if (next.done === true) {
      return fail(new NotOneFile('The form ends before its file.'));
    }
    head = concat(head, next.value);
    const text = BYTES.decode(head.subarray(0, MAX_HEAD_BYTES));
    const end = text.indexOf(HEAD_END);
    if (!(text.startsWith(opening) || opening.startsWith(text)) || (end < 0 && head.length >= MAX_HEAD_BYTES)) {
      return fail(new NotOneFile('The body does not begin with a part.'));
    }
    if (end >= 0) {
      const fields = new TextDecoder().decode(head.subarray(opening.length, end));
      const name = fileNameIn(fields, field);
      const chunks = contentOf(head.subarray(end + HEAD_END.length), body, boundary);
      return name === null ? fail(new NotOneFile('The first part is not the file.')) : ok({ name, chunks });
    }
  }
}

/** The file name in the head of a part for this field; null when the part is anything else. */
function fileNameIn(head: string, field: string): string | null {
  const line = head.split('\r\n').find((each) => /^content-disposition\s*:/i.test(each)) ?? '';
  const [disposition] = /^[^:]*:\s*form-data\s*/i.exec(line) ?? [];
  if (disposition === undefined) {
    return null;
  }
  const parameters = new Map<string, string>();
  const parameter = /;\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*/y;
  parameter.lastIndex = disposition.length;
  for (let found = parameter.exec(line); found !== null; found = parameter.exec(line)) {
    const [, key = '', quoted, bare = ''] = found;
    parameters.set(key.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? bare);
  }
  return parameters.get('name') === field ? (parameters.get('filename') ?? null) : null;
}

/** The content of a part: everything before the delimiter and its preceding line break. */
async function* contentOf(first: Uint8Array, rest: Chunks, boundary: string): Chunks {
  const search = new DelimiterSearch(new TextEncoder().encode(`\r\n--${boundary}`));
  for (let chunk = first; ;) {
    const { content, after } = search.push(chunk);
    yield* content;
    if (after !== null) {
      await endOfForm(chunk.slice(after), rest);
      return;
    }
    const next = await rest.next();
    if (next.done === true) {
      throw new NotOneFile('The form does not end.');
    }
    chunk = next.value;
  }
}

/**
 * Searches for the delimiter that ends a part. Only its first byte is a carriage return, so a failed match restarts
 * where it failed.
 */
class DelimiterSearch {
  private readonly end: Uint8Array;
  /** The number of delimiter bytes at the end of the previous chunk. */
  private matched = 0;

  constructor(end: Uint8Array) {
    this.end = end;
  }

  /**
   * Returns the content bytes of a chunk. `after`: the position after the delimiter, null while it has not been found.
   */
  push(chunk: Uint8Array): { content: Uint8Array[]; after: number | null } {
    const content: Uint8Array[] = [];
    let start = 0;
    if (this.matched > 0) {
      start = this.match(chunk, 0, this.matched);
      const length = this.matched + start;
      if (length === this.end.length) {
        return { content, after: start };
      }
      if (start === chunk.length) {
        this.matched = length;
        return { content, after: null };
      }
      content.push(this.end.subarray(0, length));
      this.matched = 0;
    }
    for (let from = start; ;) {
      const begun = chunk.indexOf(CR, from);
      if (begun < 0) {
        content.push(chunk.subarray(start));
        return { content, after: null };
      }
      const length = this.match(chunk, begun, 0);
      const isWhole = length === this.end.length;
      if (isWhole || begun + length === chunk.length) {
        content.push(chunk.subarray(start, begun));
        this.matched = isWhole ? 0 : length;
        return { content, after: isWhole ? begun + length : null };
      }
      from = begun + length;
    }
  }

  /** Counts the bytes from `at` on that match the delimiter from its byte `matched` on. */
  private match(chunk: Uint8Array, at: number, matched: number): number {
    let length = 0;
    while (matched + length < this.end.length && chunk[at + length] === this.end[matched + length]) {
      length += 1;
    }
    return length;
  }
}

/** Reads the rest of the form. The first part must be the last. */
async function endOfForm(first: Uint8Array, rest: Chunks): Promise<void> {
  let tail = BYTES.decode(first.subarray(0, CLOSE.length));
  for (;;) {
    const next = await rest.next();
    if (next.done === true) {
      break;
    }
    tail += BYTES.decode(next.value.subarray(0, Math.max(0, CLOSE.length - tail.length)));
  }
  if (tail !== CLOSE) {
    throw new NotOneFile('The form has more than one part.');
  }
}

function concat(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(left.length + right.length);
  all.set(left);
  all.set(right, left.length);
  return all;
}
