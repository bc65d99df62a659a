import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Base64File, Base64Stream } from './base64.ts';

type Piece = Uint8Array | null;

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Decodes a text that arrives in pieces, cut at these positions. Null if it is invalid. */
function decode(push: (text: string) => Piece, end: () => Piece, text: string, cuts: readonly number[]): Piece {
  const bytes: number[] = [];
  const edges = [0, ...cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b), text.length];
  const pieces = [...edges.slice(1).map((edge, at) => () => push(text.slice(edges[at], edge))), end];
  for (const next of pieces) {
    const piece = next();
    if (piece === null) {
      return null;
    }
    bytes.push(...piece);
  }
  return new Uint8Array(bytes);
}

function decodeBare(text: string, cuts: readonly number[] = []): Piece {
  const stream = new Base64Stream();
  return decode(
    (piece) => stream.push(utf8(piece)),
    () => (stream.complete ? new Uint8Array() : null),
    text,
    cuts,
  );
}

function file(text: string, cuts: readonly number[] = []): Piece {
  const stream = new Base64File();
  return decode(
    (piece) => stream.push(utf8(piece)),
    () => stream.end(),
    text,
    cuts,
  );
}

const content = fc.uint8Array({ maxLength: 100 });
const cuts = fc.array(fc.nat(), { maxLength: 8 });
/** Decodes a text with the engine's own decoder. */
function native(text: string): Piece {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' });
  } catch {
    return null;
  }
}
const EVERYWHERE = Array.from({ length: 100 }, (_, at) => at);

describe('base64 in pieces', () => {
  it('decodes the content for every cut, with and without line breaks', () => {
    fc.assert(
      fc.property(content, cuts, fc.boolean(), (bytes, at, lines) => {
        const plain = bytes.toBase64();
        const text = lines ? plain.replaceAll(/.{7}/g, '$&\r\n') : plain;
        expect(decodeBare(text, at)).toEqual(bytes);
        expect(file(text, at)).toEqual(bytes);
      }),
    );
  });

  it('accepts exactly what Uint8Array.fromBase64 accepts in strict mode', () => {
    const text = fc.string({ unit: fc.constantFrom(...'AQRZgw+/019= \n\v-é'), maxLength: 12 });
    fc.assert(
      fc.property(fc.oneof(text, fc.base64String()), cuts, (sent, at) => {
        expect(decodeBare(sent, at)).toEqual(native(sent));
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    'A',
    'AB',
    'ABC',
    'AB=',
    'A===',
    'AB==CD==',
    'QQ==QQ',
    'QR==',
    'AB-_',
    'hello world',
    'é',
    'aGVs*',
    '\ud800',
  ])('is refused where it is not base64: %j', (text) => {
    for (const decoder of [decodeBare, file]) {
      expect(decoder(text)).toBeNull();
      expect(decoder(text, [1, 2, 3])).toBeNull();
    }
  });
});

describe('a file as text', () => {
  const hello = new TextEncoder().encode('hello');

  it.each(['aGVsbG8=', 'aGVs\r\nbG8=', 'data:image/png;base64,aGVsbG8=', 'data:;base64,aGVsbG8='])(
    'is accepted in any pieces: %j',
    (text) => {
      expect(file(text)).toEqual(hello);
      expect(file(text, EVERYWHERE)).toEqual(hello);
    },
  );

  it('may begin like a data URL', () => {
    expect(file('data', EVERYWHERE)).toEqual(Uint8Array.fromBase64('data'));
    expect(file('dat', EVERYWHERE)).toBeNull();
    expect(file('', EVERYWHERE)).toEqual(new Uint8Array());
  });

  it.each([
    'data:image/png,aGVsbG8=',
    'data:image/png;base64',
    'data:',
    ' data:;base64,aGVsbG8=',
    'data:;base64,data:;base64,aGVsbG8=',
    `data:${'x'.repeat(201)};base64,aGVsbG8=`,
  ])('is refused where it is another URL: %j', (text) => {
    expect(file(text)).toBeNull();
    expect(file(text, EVERYWHERE)).toBeNull();
  });

  it('keeps little of an endless data URL', () => {
    const stream = new Base64File();
    const pushed = Array.from({ length: 300 }, () => stream.push(utf8('data:')));
    expect(pushed.findIndex((piece) => piece === null)).toBeLessThan(50);
  });
});
