import { describe, expect, it } from 'vitest';
import { chunksOf } from './chunks.ts';

const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => at % 251);

/** A stream as the body of a request over HTTP is one: of the platform's own kind. */
function native(content: Uint8Array): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  // Broken off where a test reads no further.
  void writer.write(content).then(
    () => writer.close(),
    () => {},
  );
  return readable;
}

/** A stream that JavaScript makes; `canceled` says whether its reader wants no more. */
function made(content: Uint8Array, size = 70_000) {
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

async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: number[] = [];
  for await (const chunk of chunks) {
    parts.push(...chunk);
  }
  return new Uint8Array(parts);
}

describe('reading a stream in chunks', () => {
  it.each([
    ['the platform', () => native(bytes)],
    ['JavaScript', () => made(bytes).stream],
    ['nothing', () => new Blob([]).stream()],
  ])('returns every byte of a stream of %s', async (kind, open) => {
    expect(await joined(chunksOf(open()))).toEqual(kind === 'nothing' ? new Uint8Array() : bytes);
  });

  it('reuses the buffer for every chunk of a native stream', async () => {
    const memories = new Set<number>();
    let seen = 0;
    for await (const chunk of chunksOf(native(bytes))) {
      seen += chunk.length;
      memories.add(chunk.buffer.byteLength);
    }
    expect(seen).toBe(bytes.length);
    expect([...memories]).toEqual([4_096, 8_192, 16_384, 32_768, 65_536]);
  });

  it('leaves a stream readable from the place where its reader stops', async () => {
    for (const stream of [native(bytes), made(bytes).stream]) {
      let first = 0;
      for await (const chunk of chunksOf(stream)) {
        first = chunk.length;
        break;
      }
      expect(stream.locked).toBe(false);
      expect(await joined(chunksOf(stream))).toEqual(bytes.subarray(first));
    }
  });

  it('cancels a stream when the wait for a chunk times out', async () => {
    const { stream, state } = made(bytes);
    const reading = joined(chunksOf(stream, () => Promise.reject(new Error('too late'))));
    await expect(reading).rejects.toThrow('too late');
    expect(state.canceled).toBe(true);
  });

  it('throws the error of the stream', async () => {
    const broken = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new TypeError('reset')) });
    await expect(joined(chunksOf(broken))).rejects.toThrow('reset');
  });
});
