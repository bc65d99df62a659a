import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ResultFile } from '../../../storage/r2/result-file.ts';
import { PNG } from '../../../testing/gateway.ts';
import { Base64Sink, PlainSink } from './text-sinks.ts';

/** A sink with a place of its own in R2, and what lies there afterwards. */
function harness(make: (open: () => ResultFile) => Base64Sink | PlainSink) {
  const key = `outputs/acc/${crypto.randomUUID()}/1/result-1`;
  const sink = make(() => new ResultFile(env.BUCKET, key, () => 'image/png'));
  return {
    /** Writes the pieces and gives what came of them. */
    async taken(pieces: readonly string[]) {
      for (const piece of pieces) {
        await sink.write(piece);
      }
      return (await sink.end()).text;
    },
    async stored(): Promise<Uint8Array | null> {
      const object = await env.BUCKET.get(key);
      return object === null ? null : new Uint8Array(await object.arrayBuffer());
    },
  };
}

const base64 = () => harness((open) => new Base64Sink(open));
const chunks = (text: string, size: number): string[] => text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
const ENCODED = PNG.toBase64();

describe('a text that is base64', () => {
  it.each([1, 2, 3, 5, 7, 64, 1_000])('is stored decoded, in pieces of %d characters', async (size) => {
    const { taken, stored } = base64();
    expect(await taken(chunks(ENCODED, size))).toMatchObject({
      kind: 'file',
      file: { size_bytes: PNG.length, content_type: 'image/png' },
    });
    expect(await stored()).toEqual(PNG);
  });

  it.each(['data:image/png;base64,', 'data:;base64,', '  '])('may stand behind %j', async (prefix) => {
    for (const size of [1, 8, 1_000]) {
      const { taken, stored } = base64();
      expect(await taken(chunks(prefix + ENCODED, size))).toMatchObject({ kind: 'file' });
      expect(await stored()).toEqual(PNG);
    }
  });

  it('may be shorter than what tells a URL', async () => {
    const { taken, stored } = base64();
    expect(await taken(['QQ=='])).toMatchObject({ kind: 'file', file: { size_bytes: 1 } });
    expect(await stored()).toEqual(new Uint8Array([0x41]));
  });
});

describe('a text that is a URL', () => {
  it.each([1, 4, 9, 1_000])('is kept whole, in pieces of %d characters', async (size) => {
    const url = 'https://files.example.org/a.png?X-Amz-Signature=abc';
    const { taken, stored } = base64();
    expect(await taken(chunks(url, size))).toMatchObject({ kind: 'url', url });
    expect(await stored()).toBeNull();
  });

  it('is cut where it is longer than any URL that would be called', async () => {
    const text = await base64().taken(['https://files.example.org/', ...chunks('a'.repeat(1_000_000), 60_000)]);
    expect(text.kind === 'url' ? text.url.length : 0).toBeLessThan(65_000);
    expect(text.head.length).toBe(2_000);
  });
});

describe('a text that is neither', () => {
  it.each([
    '',
    '   ',
    'data:image/png,plain',
    `data:${'x'.repeat(500)};base64,QUJD`,
    'the image could not be read: /comfyui/output/a.png',
    'QUJD!',
    ENCODED.slice(0, -3),
    `${ENCODED}====`,
    `QQ==${ENCODED}`,
  ])('is kept as far as a message goes, and leaves nothing behind: %s', async (text) => {
    for (const size of [1, 6, 1_000]) {
      const { taken, stored } = base64();
      expect(await taken(chunks(text, size))).toEqual({ kind: 'neither', head: text });
      expect(await stored()).toBeNull();
    }
  });

  it('only after megabytes leaves nothing behind either', async () => {
    const { taken, stored } = base64();
    const good = 'QUJD'.repeat(4_000_000);
    expect((await taken([...chunks(good, 1_000_000), '!'])).kind).toBe('neither');
    expect(await stored()).toBeNull();
  });
});

describe('a text that is a result itself', () => {
  it('is stored as UTF-8, wherever a character is cut', async () => {
    const { taken, stored } = harness((open) => new PlainSink(open));
    expect((await taken(['é', '\ud83d', '\ude00!', '\ud800'])).kind).toBe('file');
    expect(new TextDecoder().decode((await stored()) ?? undefined)).toBe('é😀!\ufffd');
  });

  it('is nothing when it is empty', async () => {
    expect(await harness((open) => new PlainSink(open)).taken([])).toEqual({ kind: 'neither', head: '' });
  });
});
