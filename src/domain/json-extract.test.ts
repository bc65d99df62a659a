import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonExtractor, type TextSink, type Way } from './json-extract.ts';
import { findSyntaxIssue } from './json-syntax.ts';

const WAYS: Way[] = [
  ['inputs', '*', 'data'],
  ['jobs', '*', 'inputs', '*', 'data'],
];

type ExtractedText = { places: number[]; text: string; longest: number };

/**
 * Sends a body in chunks of `size` bytes. Returns the remaining document and the extracted strings. `T<n>` replaces the
 * n-th string.
 */
async function extract(body: string | Uint8Array, size = 7) {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const texts: ExtractedText[] = [];
  const open = (places: number[]): TextSink => {
    const current: ExtractedText = { places, text: '', longest: 0 };
    return {
      write: (piece) => {
        current.text += String.fromCharCode(...piece);
        current.longest = Math.max(current.longest, piece.length);
        piece.fill(0);
      },
      end: () => `T${texts.push(current) - 1}`,
    };
  };
  const extractor = new JsonExtractor(WAYS, open);
  for (let at = 0; at < bytes.length; at += size) {
    // The chunk is overwritten after it was read, like the buffer of a body.
    const chunk = bytes.slice(at, at + size);
    await extractor.push(chunk);
    chunk.fill(0);
  }
  return { document: extractor.finish(), texts, documentBytes: extractor.documentBytes };
}

const isParsed = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe('extracting strings from JSON', () => {
  it('returns the document with a placeholder for each string', async () => {
    const body =
      '{"workflow":{"data":"stays"},"inputs":[{"name":"a","data":"AAAA"},{"data":"BB","name":"b"}],"data":"stays"}';
    const { document, texts, documentBytes } = await extract(body);
    const text =
      '{"workflow":{"data":"stays"},"inputs":[{"name":"a","data":"T0"},{"data":"T1","name":"b"}],"data":"stays"}';
    expect(document?.text).toBe(text);
    expect(documentBytes).toBe(text.length);
    expect(texts).toMatchObject([
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
  ])('finds the strings for every chunk size: %s', async (_what, body, expected) => {
    for (const size of [1, 2, 3, 5, 1000]) {
      expect((await extract(body, size)).texts).toMatchObject(expected);
    }
  });

  it('keeps at most one chunk of a string in memory', async () => {
    const body = `{"inputs":[{"data":"${'A'.repeat(3_000_000)}"}]}`;
    const { document, texts, documentBytes } = await extract(body, 65_536);
    expect(document?.text).toBe('{"inputs":[{"data":"T0"}]}');
    expect(documentBytes).toBe(26);
    expect(texts[0]?.text.length).toBe(3_000_000);
    expect(texts[0]?.longest).toBeLessThanOrEqual(65_536);
  });

  it('waits for the sink before it continues', async () => {
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

  it('returns null for a document that is not UTF-8', async () => {
    expect((await extract(new Uint8Array([0x22, 0xff, 0x22]))).document).toBeNull();
    expect((await extract(new Uint8Array([0x22, 0xc3]))).document).toBeNull();
  });

  it('skips a byte order mark', async () => {
    expect((await extract('\uFEFF{"inputs":[{"data":"x"}]}', 2)).document?.text).toBe('{"inputs":[{"data":"T0"}]}');
  });
});

/** Bodies of jobs, and parts of them, with strings to extract. */
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

/** Puts the extracted strings back into a value. */
function restore(value: unknown, texts: readonly ExtractedText[]): unknown {
  return JSON.parse(JSON.stringify(value), (key, inner: unknown) => {
    const at = key === 'data' && typeof inner === 'string' ? /^T(\d+)$/.exec(inner)?.[1] : undefined;
    return at === undefined ? inner : texts[Number(at)]?.text;
  });
}

describe('extracting strings from a random body', () => {
  it('returns a document that equals the body with the strings put back', async () => {
    await fc.assert(
      fc.asyncProperty(written, fc.integer({ min: 1, max: 20 }), async (sent, size) => {
        fc.pre(!/"T\d+"/.test(sent) && !sent.includes('__proto__'));
        const { document, texts } = await extract(sent, size);
        expect(restore(JSON.parse(document?.text ?? ''), texts)).toEqual(JSON.parse(sent));
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps the place and the reason of a syntax error', async () => {
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
        const { document } = await extract(sent, size);
        expect(isParsed(document?.text ?? '')).toBe(false);
        expect(findSyntaxIssue(document?.text ?? '', document?.cuts)).toEqual(findSyntaxIssue(sent));
      }),
      { numRuns: 3000 },
    );
  });
});
