import { describe, expect, it } from 'vitest';
import { chunksOf } from './chunks.ts';

const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => at % 251);

/** A native stream of the platform, like the body of an HTTP request. */
function nativeStream(content: Uint8Array): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  // Rejects when a test stops reading.
  void writer.write(content).then(
    () => writer.close(),
    () => {},
  );
  return readable;
}

/** A stream made in JavaScript. `canceled` tells whether its reader has canceled it. */
function jsStream(content: Uint8Array, size = 70_000) {
  let at = 0;
  const state = { canceled: false };
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(content.slice(at, at + size));
      at += size;
      if (at >= content.length) {
        controller.close();
      }
    },
    cancel: () => void (state.canceled = true),
  });
  return { stream, state };
}

async function concat(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: number[] = [];
  for await (const chunk of chunks) {
    parts.push(...chunk);
  }
  return new Uint8Array(parts);
}

describe('reading a stream in chunks', () => {
  it.each([
    ['the platform', () => nativeStream(bytes)],
    ['JavaScript', () => jsStream(bytes).stream],
    ['nothing', () => new Blob([]).stream()],
  ])('returns every byte of a stream of %s', async (kind, open) => {
    expect(await concat(chunksOf(open()))).toEqual(kind === 'nothing' ? new Uint8Array() : bytes);
  });

  it('reuses the buffer for every chunk of a native stream', async () => {
    const memories = new Set<number>();
    let seen = 0;
    for await (const chunk of chunksOf(nativeStream(bytes))) {
      seen += chunk.length;
      memories.add(chunk.buffer.byteLength);
    }
    expect(seen).toBe(bytes.length);
    expect([...memories]).toEqual([4_096, 8_192, 16_384, 32_768, 65_536]);
  });

  it('leaves a stream readable from the place where its reader stops', async () => {
    for (const stream of [nativeStream(bytes), jsStream(bytes).stream]) {
      let first = 0;
      for await (const chunk of chunksOf(stream)) {
        first = chunk.length;
        break;
      }
      expect(stream.locked).toBe(false);
      expect(await concat(chunksOf(stream))).toEqual(bytes.subarray(first));
    }
  });

  it('cancels a stream when the wait for a chunk times out', async () => {
    const { stream, state } = jsStream(bytes);
    const reading = concat(chunksOf(stream, () => Promise.reject(new Error('too late'))));
    await expect(reading).rejects.toThrow('too late');
    expect(state.canceled).toBe(true);
  });

  it('throws the error of the stream', async () => {
    const broken = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new TypeError('reset')) });
    await expect(concat(chunksOf(broken))).rejects.toThrow('reset');
  });
});
