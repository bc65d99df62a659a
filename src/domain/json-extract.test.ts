import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonExtractor, type TextSink, type Way } from './json-extract.ts';
import { findSyntaxIssue } from './json-syntax.ts';

const WAYS: Way[] = [
  ['inputs', '*', 'data'],
  ['jobs', '*', 'inputs', '*', 'data'],
];

type Taken = { places: number[]; text: string; longest: number };

/**
 * What is left of a body that arrives in chunks of `size` bytes, and what was taken out of it. The n-th text leaves
 * `T<n>`.
 */
async function extracted(body: string | Uint8Array, size = 7) {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const taken: Taken[] = [];
  const open = (places: number[]): TextSink => {
    const mine: Taken = { places, text: '', longest: 0 };
    return {
      write: (piece) => {
        mine.text += String.fromCharCode(...piece);
        mine.longest = Math.max(mine.longest, piece.length);
        piece.fill(0);
      },
      end: () => `T${taken.push(mine) - 1}`,
    };
  };
  const extractor = new JsonExtractor(WAYS, open);
  for (let at = 0; at < bytes.length; at += size) {
    // Overwritten as soon as it is read, as the memory of a body is.
    const chunk = bytes.slice(at, at + size);
    await extractor.push(chunk);
    chunk.fill(0);
  }
  return { document: extractor.finish(), taken, documentBytes: extractor.documentBytes };
}

const isParsed = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe('taking texts out of JSON', () => {
  it('leaves the document, with what stands for each text', async () => {
    const body =
      '{"workflow":{"data":"stays"},"inputs":[{"name":"a","data":"AAAA"},{"data":"BB","name":"b"}],"data":"stays"}';
    const { document, taken, documentBytes } = await extracted(body);
    const text =
      '{"workflow":{"data":"stays"},"inputs":[{"name":"a","data":"T0"},{"data":"T1","name":"b"}],"data":"stays"}';
    expect(document?.text).toBe(text);
    expect(documentBytes).toBe(text.length);
    expect(taken).toMatchObject([
      { places: [0], text: 'AAAA' },
      { places: [1], text: 'BB' },
    ]);
  });

  it.each([
    ['in a batch', '{"jobs":[{},{"inputs":[7,{"data":"x"}]}]}', [{ places: [1, 1], text: 'x' }]],
    ['behind names in escapes', '{"\\u0069nputs":[{"d\\u0061ta":"x"}]}', [{ places: [0], text: 'x' }]],
    ['named twice', '{"inputs":[{"data":"x","data":"y"}]}', [{ text: 'x' }, { text: 'y' }]],
    ['with escapes', '{"inputs":[{"data":"a\\/b\\u003d\\n\\"\\\\"}]}', [{ text: 'a/b=\n"\\' }]],
    ['that is empty', '{"inputs":[{"data":""}]}', [{ text: '' }]],
    ['behind a nested value', '{"inputs":[{"a":{"b":[1,{}]},"data":"x"}]}', [{ text: 'x' }]],
    ['in a list of the root', '[{"inputs":[{"data":"x"}]}]', []],
    ['in an object instead of a list', '{"inputs":{"0":{"data":"x"}}}', []],
    ['one level too deep', '{"inputs":[[{"data":"x"}]]}', []],
    ['as a name', '{"inputs":[{"data":{"x":1}}]}', []],
    ['in a text', '{"a":"{\\"inputs\\":[{\\"data\\":\\"x\\"}]}"}', []],
  ])('finds a text %s wherever the body is cut', async (_what, body, expected) => {
    for (const size of [1, 2, 3, 5, 1000]) {
      expect((await extracted(body, size)).taken).toMatchObject(expected);
    }
  });

  it('holds no more than a chunk of a text', async () => {
    const body = `{"inputs":[{"data":"${'A'.repeat(3_000_000)}"}]}`;
    const { document, taken, documentBytes } = await extracted(body, 65_536);
    expect(document?.text).toBe('{"inputs":[{"data":"T0"}]}');
    expect(documentBytes).toBe(26);
    expect(taken[0]?.text.length).toBe(3_000_000);
    expect(taken[0]?.longest).toBeLessThanOrEqual(65_536);
  });

  it('waits for a sink before it reads on', async () => {
    const events: string[] = [];
    const extractor = new JsonExtractor(WAYS, () => ({
      write: async (piece) => {
        const text = String.fromCharCode(...piece);
        events.push(`begin ${text}`);
        await Promise.resolve();
        events.push(`end ${text}`);
      },
      end: () => 'T',
    }));
    for (const part of ['{"inputs":[{"data":"a', 'b', 'c"}]}']) {
      await extractor.push(new TextEncoder().encode(part));
    }
    expect(events).toEqual(['begin a', 'end a', 'begin b', 'end b', 'begin c', 'end c']);
  });

  it('says where a document is not UTF-8', async () => {
    expect((await extracted(new Uint8Array([0x22, 0xff, 0x22]))).document).toBeNull();
    expect((await extracted(new Uint8Array([0x22, 0xc3]))).document).toBeNull();
  });

  it('passes over a byte order mark', async () => {
    expect((await extracted('\uFEFF{"inputs":[{"data":"x"}]}', 2)).document?.text).toBe('{"inputs":[{"data":"T0"}]}');
  });
});

/** Bodies of jobs, and parts of them, with texts that are to be taken. */
const data = fc.oneof(fc.string({ unit: 'binary-ascii', maxLength: 8 }), fc.base64String({ maxLength: 40 }));
const name = fc.string({ unit: 'binary', maxLength: 8 });
const entry = fc.oneof(fc.record({ data, name }), fc.jsonValue({ maxDepth: 1 }));
const job = fc.record({ inputs: fc.array(entry, { maxLength: 3 }) }, { requiredKeys: [] });
const body = fc.oneof(
  job,
  fc.record({ jobs: fc.array(job, { maxLength: 2 }) }),
  fc.jsonValue({ stringUnit: 'binary' }),
);
const written = fc
  .tuple(body, fc.constantFrom('', ' ', '\n  '))
  .map(([value, indent]) => JSON.stringify(value, null, indent).replaceAll('/', '\\/'));

/** The value with what was taken put back. */
function restored(value: unknown, taken: readonly Taken[]): unknown {
  return JSON.parse(JSON.stringify(value), (key, inner: unknown) => {
    const at = key === 'data' && typeof inner === 'string' ? /^T(\d+)$/.exec(inner)?.[1] : undefined;
    return at === undefined ? inner : taken[Number(at)]?.text;
  });
}

describe('any body', () => {
  it('is what it was once the texts are put back', async () => {
    await fc.assert(
      fc.asyncProperty(written, fc.integer({ min: 1, max: 20 }), async (sent, size) => {
        fc.pre(!/"T\d+"/.test(sent) && !sent.includes('__proto__'));
        const { document, taken } = await extracted(sent, size);
        expect(restored(JSON.parse(document?.text ?? ''), taken)).toEqual(JSON.parse(sent));
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps its syntax error, with the same place and reason, when the texts are taken out', async () => {
    const token = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      '\\u12',
      'NaN',
      '0',
      '\n',
      '\t',
      'é',
      '😀',
      ' ',
    );
    const broken = fc.tuple(written, token, fc.nat(), fc.nat({ max: 3 })).map(([sent, put, at, cut]) => {
      const begin = at % (sent.length + 1);
      return (sent.slice(0, begin) + put + sent.slice(begin + cut)).toWellFormed();
    });
    await fc.assert(
      fc.asyncProperty(broken, fc.integer({ min: 1, max: 20 }), async (sent, size) => {
        fc.pre(!isParsed(sent));
        const { document } = await extracted(sent, size);
        expect(isParsed(document?.text ?? '')).toBe(false);
        expect(findSyntaxIssue(document?.text ?? '', document?.cuts)).toEqual(findSyntaxIssue(sent));
      }),
      { numRuns: 3000 },
    );
  });
});
