import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundaryOf, NotOneFile, openForm } from './form.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** Yields a body in chunks of `size` bytes. Overwrites each chunk when the next one is requested. */
async function* inChunks(body: Uint8Array, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < body.length; at += size) {
    const chunk = body.slice(at, at + size);
    yield chunk;
    chunk.fill(0);
  }
}

/**
 * Reads the name and content of the file in a form; the error message when the form does not contain exactly one file.
 */
async function read(
  body: Uint8Array,
  size = 7,
  boundary = 'b',
): Promise<{ name: string; content: Uint8Array } | string> {
  const form = await openForm(inChunks(body, size), boundary, 'file');
  if (!form.ok) {
    return form.problem.message;
  }
  const parts: Uint8Array[] = [];
  try {
    for await (const chunk of form.value.chunks) {
      parts.push(chunk.slice());
    }
  } catch (error) {
    return error instanceof NotOneFile ? error.message : `another error: ${String(error)}`;
  }
  return { name: form.value.name, content: concat(...parts) };
}

const HEAD = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n';
const formOf = (content: Uint8Array, head = HEAD, end = '\r\n--b--\r\n') => concat(utf8(head), content, utf8(end));

describe('a form with one file', () => {
  it('yields the exact bytes of the file for every chunk size', async () => {
    const near = fc.constantFrom('\r', '\n', '\r\n', '\r\n-', '\r\n--', '\r\n--c', '-', 'b', '\r\n--\r\n--', '\0');
    const content = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.array(near, { maxLength: 12 }).map((pieces) => utf8(pieces.join(''))),
    );
    await fc.assert(
      fc.asyncProperty(content, fc.integer({ min: 1, max: 90 }), async (bytes, size) => {
        // A client chooses a boundary that the file does not contain.
        fc.pre(!new TextDecoder('latin1').decode(bytes).includes('\r\n--b'));
        expect(await read(formOf(bytes), size)).toEqual({ name: 'a.png', content: bytes });
      }),
      { numRuns: 1000 },
    );
  });

  it('reads a form that the platform writes', async () => {
    const form = new FormData();
    const content = Uint8Array.from({ length: 100_000 }, (_, at) => (at * 7) % 256);
    form.set('file', new File([content], 'Bild "ü".png', { type: 'image/png' }));
    const response = new Response(form);
    const boundary = boundaryOf(response.headers.get('content-type') ?? '') ?? '';
    expect(await read(new Uint8Array(await response.arrayBuffer()), 4096, boundary)).toEqual({
      name: 'Bild %22ü%22.png',
      content,
    });
  });

  it.each([
    ['content-disposition: form-data; name=file; filename=a.txt', 'a.txt'],
    [
      'Content-Type: image/png\r\nCONTENT-DISPOSITION:form-data;filename="a;\\" name=\\"x.png";name="file"',
      'a;" name="x.png',
    ],
    ['content-disposition: form-data; name="file"; filename=""', ''],
  ])('reads the file name from the head %j', async (head, name) => {
    expect(await read(formOf(utf8('x'), `--b\r\n${head}\r\n\r\n`))).toEqual({ name, content: utf8('x') });
  });

  it.each([
    ['nothing', '', 'The form ends before its file.'],
    ['another body', 'PNG', 'The body does not begin with a part.'],
    ['another boundary', HEAD.replace('--b', '--c'), 'The body does not begin with a part.'],
    ['a head without an end', `--b\r\nx: ${'y'.repeat(20_000)}`, 'The body does not begin with a part.'],
    ['a text', HEAD.replace('; filename="a.png"', ''), 'The first part is not the file.'],
    ['another field', HEAD.replace('name="file"', 'name="image"'), 'The first part is not the file.'],
    ['no field', HEAD.replace('content-disposition', 'x'), 'The first part is not the file.'],
    ['an attachment', HEAD.replace('form-data', 'attachment'), 'The first part is not the file.'],
    ['no end', `${HEAD}content`, 'The form does not end.'],
    ['half an end', `${HEAD}content\r\n--b`, 'The form has more than one part.'],
    ['two files', `${HEAD}content\r\n${HEAD}content\r\n--b--`, 'The form has more than one part.'],
  ])('rejects a body with %s', async (_what, body, problem) => {
    for (const size of [1, 7, 100_000]) {
      expect(await read(utf8(body), size)).toBe(problem);
    }
  });

  it.each([
    ['multipart/form-data; boundary=b', 'b'],
    ['multipart/form-data; charset=x; Boundary="a b"', 'a b'],
    ['multipart/form-data', null],
    [`multipart/form-data; boundary=${'x'.repeat(71)}`, null],
  ])('reads the boundary of the type %j', (type, boundary) => {
    expect(boundaryOf(type)).toBe(boundary);
  });
});
