import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonStreamError, type JsonPath, readJsonStream, type TextSink } from './json-stream.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A body that arrives in pieces of `size` bytes. */
function inPieces(text: string, size: number): ReadableStream<Uint8Array> {
  const all = bytes(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= all.length) {
        controller.close();
        return;
      }
      controller.enqueue(all.subarray(at, at + size));
      at += size;
    },
  });
}

const keepAll = (): null => null;
const read = (text: string, size = 7): Promise<unknown> => readJsonStream(inPieces(text, size), keepAll);

/** Takes the strings at `data`, and says of each how much of it was held at most. */
function takingData(): { take: (path: JsonPath) => TextSink | null; taken: { path: JsonPath; longest: number }[] } {
  const taken: { path: JsonPath; longest: number }[] = [];
  return {
    taken,
    take: (path) => {
      if (path.at(-1) !== 'data') {
        return null;
      }
      let length = 0;
      let longest = 0;
      return {
        write: (piece) => {
          length += piece.length;
          longest = Math.max(longest, piece.length);
        },
        end: () => {
          taken.push({ path: [...path], longest });
          return Promise.resolve({ length });
        },
      };
    },
  };
}

describe('a body in pieces', () => {
  it('gives what JSON.parse gives, wherever it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.json({ noUnicodeString: false }).filter((text) => !text.includes('__proto__')),
        fc.integer({ min: 1, max: 9 }),
        async (text, size) => {
          expect(await read(text, size)).toEqual(JSON.parse(text));
        },
      ),
    );
  });

  it.each([
    '{"a":"\\u00e9\\n\\"\\\\\\/\\ud83d\\ude00"}',
    ' [ 1 , -0.5e+3, true,false , null, "" , {} , [] ] ',
    '"é😀"',
    '0',
    '{"a":{"b":[{"c":1},{"c":2}]}}',
  ])('reads %s one byte at a time', async (text) => {
    expect(await read(text, 1)).toEqual(JSON.parse(text));
  });

  it.each([
    '',
    ' ',
    '{',
    '[1',
    '"open',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '[1,]',
    '[,1]',
    '[1 2]',
    '{"a" 1}',
    '{1:2}',
    '[1]]',
    '{}{}',
    'nul',
    'truefalse',
    '01',
    '1.',
    '"\\x"',
    '"\\u12g4"',
    '<html>',
    '}',
    '[}',
    '{]',
  ])('that is no JSON is refused: %s', async (text) => {
    await expect(read(text, 3)).rejects.toBeInstanceOf(JsonStreamError);
  });

  it('that breaks off rejects with what broke it', async () => {
    const broken = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes('{"a":'));
      },
      pull(controller) {
        controller.error(new TypeError('reset'));
      },
    });
    await expect(readJsonStream(broken, keepAll)).rejects.toThrow('reset');
  });
});

describe('a string that somebody takes', () => {
  it('goes there piece by piece, and what comes of it stands in its place', async () => {
    const { take, taken } = takingData();
    const body = `{"output":{"images":[{"data":"${'A'.repeat(3_000_000)}","filename":"a.png"},{"data":"B\\n\\u0042"}]},"status":"COMPLETED"}`;
    expect(await readJsonStream(inPieces(body, 65_536), take)).toEqual({
      output: { images: [{ data: { length: 3_000_000 }, filename: 'a.png' }, { data: { length: 3 } }] },
      status: 'COMPLETED',
    });
    expect(taken.map(({ path }) => path)).toEqual([
      ['output', 'images', 0, 'data'],
      ['output', 'images', 1, 'data'],
    ]);
    expect(taken[0]?.longest).toBeLessThanOrEqual(65_536);
  });

  it('is waited for, so that a slow taker holds the body back', async () => {
    const order: string[] = [];
    await readJsonStream(inPieces('["aaaa","b"]', 3), () => ({
      write: async (piece) => {
        order.push(`begin ${piece}`);
        await Promise.resolve();
        order.push(`end ${piece}`);
      },
      end: () => Promise.resolve(null),
    }));
    expect(order.filter((_, at) => at % 2 === 0).map((word) => word.replace('begin', 'end'))).toEqual(
      order.filter((_, at) => at % 2 === 1),
    );
    expect(order).toHaveLength(6);
  });
});

describe('what is larger than anybody needs', () => {
  it('is cut or dropped, and what follows is still read', async () => {
    const deep = `${'['.repeat(200)}1${']'.repeat(200)}`;
    const many = `[${Array.from({ length: 30_000 }, () => '0').join(',')}]`;
    const seen = await read(
      `{"long":"${'x'.repeat(100_000)}","deep":${deep},"many":${many},"status":"COMPLETED","time":7}`,
      4096,
    );
    expect(seen).toMatchObject({ long: 'x'.repeat(16_384), status: 'COMPLETED', time: 7 });
    expect(JSON.stringify(seen).length).toBeLessThan(60_000);
  });

  it('is refused where nesting alone would fill the memory', async () => {
    await expect(read('['.repeat(20_000), 4096)).rejects.toBeInstanceOf(JsonStreamError);
  });

  it('does not touch prototypes', async () => {
    const seen = await read('{"__proto__":{"polluted":true},"a":1}');
    expect(seen).toEqual({ a: 1 });
    expect(Object.getPrototypeOf(seen)).toBe(Object.prototype);
  });
});
