import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonStreamError, type JsonPath, readJsonStream, type TextSink } from './json-stream.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A body that arrives in chunks of `size` bytes. */
function bodyInChunks(text: string, size: number): ReadableStream<Uint8Array> {
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

const noSinks = (): null => null;
const read = (text: string, size = 7): Promise<unknown> => readJsonStream(bodyInChunks(text, size), noSinks);

/** Makes sinks for the strings at `data`, and records the longest piece of each string. */
function recordingDataSinks(): {
  sinkFor: (path: JsonPath) => TextSink | null;
  received: { path: JsonPath; longest: number }[];
} {
  const received: { path: JsonPath; longest: number }[] = [];
  return {
    received,
    sinkFor: (path) => {
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
          received.push({ path: [...path], longest });
          return Promise.resolve({ length });
        },
      };
    },
  };
}

describe('a JSON stream', () => {
  it('gives the value of JSON.parse for every chunk size', async () => {
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
  ])('rejects invalid JSON: %s', async (text) => {
    await expect(read(text, 3)).rejects.toBeInstanceOf(JsonStreamError);
  });

  it('rejects with the error of the body', async () => {
    const broken = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes('{"a":'));
      },
      pull(controller) {
        controller.error(new TypeError('reset'));
      },
    });
    await expect(readJsonStream(broken, noSinks)).rejects.toThrow('reset');
  });
});

describe('a JSON string with a sink', () => {
  it('is passed to the sink in pieces, and is replaced by its result', async () => {
    const { sinkFor, received } = recordingDataSinks();
    const body = `{"output":{"images":[{"data":"${'A'.repeat(3_000_000)}","filename":"a.png"},{"data":"B\\n\\u0042"}]},"status":"COMPLETED"}`;
    expect(await readJsonStream(bodyInChunks(body, 65_536), sinkFor)).toEqual({
      output: { images: [{ data: { length: 3_000_000 }, filename: 'a.png' }, { data: { length: 3 } }] },
      status: 'COMPLETED',
    });
    expect(received.map(({ path }) => path)).toEqual([
      ['output', 'images', 0, 'data'],
      ['output', 'images', 1, 'data'],
    ]);
    expect(received[0]?.longest).toBeLessThanOrEqual(65_536);
  });

  it('pauses the body until the sink has accepted the piece', async () => {
    const order: string[] = [];
    await readJsonStream(bodyInChunks('["aaaa","b"]', 3), () => ({
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

describe('a JSON value beyond the limits', () => {
  it('is cut or dropped, and the reader continues', async () => {
    const deep = `${'['.repeat(200)}1${']'.repeat(200)}`;
    const many = `[${Array.from({ length: 30_000 }, () => '0').join(',')}]`;
    const value = await read(
      `{"long":"${'x'.repeat(100_000)}","deep":${deep},"many":${many},"status":"COMPLETED","time":7}`,
      4096,
    );
    expect(value).toMatchObject({ long: 'x'.repeat(16_384), status: 'COMPLETED', time: 7 });
    expect(JSON.stringify(value).length).toBeLessThan(60_000);
  });

  it('is rejected when its nesting is too deep', async () => {
    await expect(read('['.repeat(20_000), 4096)).rejects.toBeInstanceOf(JsonStreamError);
  });

  it('does not change a prototype', async () => {
    const value = await read('{"__proto__":{"polluted":true},"a":1}');
    expect(value).toEqual({ a: 1 });
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  });
});
