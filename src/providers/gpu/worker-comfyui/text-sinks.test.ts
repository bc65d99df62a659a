import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ResultFile } from '../../../storage/r2/result-file.ts';
import { PNG } from '../../../testing/gateway.ts';
import { Base64Sink, PlainSink } from './text-sinks.ts';

/** A sink with its own key in R2, and a way to read the object at that key. */
function harness(make: (open: () => ResultFile) => Base64Sink | PlainSink) {
  const key = `outputs/acc/${crypto.randomUUID()}/1/result-1`;
  const sink = make(() => new ResultFile(env.BUCKET, key, () => 'image/png'));
  return {
    /** Writes the pieces, and returns the extracted content. */
    async write(pieces: readonly string[]) {
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

describe('a base64 string', () => {
  it.each([1, 2, 3, 5, 7, 64, 1_000])('is decoded and stored in pieces of %d characters', async (size) => {
    const { write, stored } = base64();
    expect(await write(chunks(ENCODED, size))).toMatchObject({
      kind: 'file',
      file: { size_bytes: PNG.length, content_type: 'image/png' },
    });
    expect(await stored()).toEqual(PNG);
  });

  it.each(['data:image/png;base64,', 'data:;base64,', '  '])('is accepted after %j', async (prefix) => {
    for (const size of [1, 8, 1_000]) {
      const { write, stored } = base64();
      expect(await write(chunks(prefix + ENCODED, size))).toMatchObject({ kind: 'file' });
      expect(await stored()).toEqual(PNG);
    }
  });

  it('is accepted when it is shorter than URL_SCHEME_CHARS', async () => {
    const { write, stored } = base64();
    expect(await write(['QQ=='])).toMatchObject({ kind: 'file', file: { size_bytes: 1 } });
    expect(await stored()).toEqual(new Uint8Array([0x41]));
  });
});

describe('a URL in a string', () => {
  it.each([1, 4, 9, 1_000])('is kept complete in pieces of %d characters', async (size) => {
    const url = 'https://files.example.org/a.png?X-Amz-Signature=abc';
    const { write, stored } = base64();
    expect(await write(chunks(url, size))).toMatchObject({ kind: 'url', url });
    expect(await stored()).toBeNull();
  });

  it('is cut when it is longer than a valid URL', async () => {
    const text = await base64().write(['https://files.example.org/', ...chunks('a'.repeat(1_000_000), 60_000)]);
    expect(text.kind === 'url' ? text.url.length : 0).toBeLessThan(65_000);
    expect(text.head.length).toBe(2_000);
  });
});

describe('a string that is neither base64 nor a URL', () => {
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
  ])('is kept as a message, and stores no file: %s', async (text) => {
    for (const size of [1, 6, 1_000]) {
      const { write, stored } = base64();
      expect(await write(chunks(text, size))).toEqual({ kind: 'other', head: text });
      expect(await stored()).toBeNull();
    }
  });

  it('stores no file when it is invalid only after megabytes', async () => {
    const { write, stored } = base64();
    const good = 'QUJD'.repeat(4_000_000);
    expect((await write([...chunks(good, 1_000_000), '!'])).kind).toBe('other');
    expect(await stored()).toBeNull();
  });
});

describe('a string that is the result itself', () => {
  it('is stored as UTF-8 when a character is split between pieces', async () => {
    const { write, stored } = harness((open) => new PlainSink(open));
    expect((await write(['é', '\ud83d', '\ude00!', '\ud800'])).kind).toBe('file');
    expect(new TextDecoder().decode((await stored()) ?? undefined)).toBe('é😀!\ufffd');
  });

  it('stores no file when it is empty', async () => {
    expect(await harness((open) => new PlainSink(open)).write([])).toEqual({ kind: 'other', head: '' });
  });
});
