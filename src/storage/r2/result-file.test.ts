import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ResultFile } from './result-file.ts';

const PART = 8 * 1024 * 1024;

const newKey = (): string => `outputs/acc/${crypto.randomUUID()}/1/result-1`;
const open = (key: string): ResultFile =>
  new ResultFile(env.BUCKET, key, (head, size) => `test/${head.length}-${size}`);

/** Bytes without a short period, so that a shifted write is noticed. */
function bytesOf(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) {
    bytes[at] = (at ^ (at >> 8)) & 0xff;
  }
  return bytes;
}

const sha256 = async (bytes: Uint8Array): Promise<string> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

async function writeFile(key: string, content: Uint8Array, piece: number): Promise<ResultFile> {
  const file = open(key);
  for (let at = 0; at < content.length; at += piece) {
    await file.write(content.subarray(at, at + piece));
  }
  return file;
}

describe('a result file', () => {
  it.each([
    [0, 1],
    [1, 1],
    [PART - 1, 65_536],
    [PART, 65_536],
    [PART + 1, 65_536],
    [2 * PART, PART],
    [2 * PART + 5, 1_000_003],
    [2 * PART + 5, 3 * PART],
  ])('stores %d bytes written in pieces of %d bytes', async (size, piece) => {
    const key = newKey();
    const content = bytesOf(size);
    const file = await writeFile(key, content, piece);
    expect(await env.BUCKET.head(key)).toBeNull();
    const stored = await file.finish();
    expect(stored).toEqual({
      key,
      size_bytes: size,
      sha256: await sha256(content),
      content_type: `test/${Math.min(size, 4096)}-${size}`,
    });
    const object = await env.BUCKET.get(key);
    expect(await sha256(new Uint8Array((await object?.arrayBuffer()) ?? []))).toBe(stored.sha256);
  });

  it('replaces the object of an earlier write', async () => {
    const key = newKey();
    await (await writeFile(key, bytesOf(PART + 1), 65_536)).finish();
    await (await writeFile(key, bytesOf(10), 10)).finish();
    expect((await env.BUCKET.head(key))?.size).toBe(10);
  });

  it.each([10, PART + 1])(
    'leaves no object and no multipart upload when it is discarded after %d bytes',
    async (size) => {
      const aborted: string[] = [];
      const create = env.BUCKET.createMultipartUpload.bind(env.BUCKET);
      const spy = vi.spyOn(env.BUCKET, 'createMultipartUpload').mockImplementation(async (...args) => {
        const upload = await create(...args);
        const abort = upload.abort.bind(upload);
        upload.abort = () => {
          aborted.push(upload.uploadId);
          return abort();
        };
        return upload;
      });
      onTestFinished(() => spy.mockRestore());
      const key = newKey();
      const file = await writeFile(key, bytesOf(size), 65_536);
      await file.discard();
      await file.discard();
      expect(await env.BUCKET.head(key)).toBeNull();
      expect(aborted).toHaveLength(size > PART ? 1 : 0);
    },
  );

  it('keeps its object when it is discarded after finishing', async () => {
    const key = newKey();
    const file = await writeFile(key, bytesOf(10), 10);
    await file.finish();
    await file.discard();
    expect((await env.BUCKET.head(key))?.size).toBe(10);
  });
});
