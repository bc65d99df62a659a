import { env } from 'cloudflare:workers';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { uploadPrefix } from './keys.ts';
import { FIRST_PUT_BYTES, MAX_MEMORY_BYTES, Spool } from './spool.ts';

const ACCOUNT = 'spool';
let spools = 0;

/** Makes a new spool, and a function that lists its objects in R2. */
function newSpool(expected: number | null, bucket: R2Bucket = env.BUCKET) {
  spools += 1;
  const id = `s${spools}`;
  const keys = async () =>
    (await env.BUCKET.list({ prefix: uploadPrefix(ACCOUNT, id) })).objects.map(({ key, size }) => [
      key.slice(uploadPrefix(ACCOUNT, id).length),
      size,
    ]);
  return { spool: new Spool(bucket, ACCOUNT, id, expected), keys };
}

/** Bytes without a short period, so that a shifted read is noticed. */
function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) {
    bytes[at] = (at * 31 + (at >> 8)) % 251;
  }
  return bytes;
}

/** A bucket on which one method always fails. */
function bucketFailingOn(call: 'put' | 'delete'): R2Bucket {
  const failing = (): Promise<never> => Promise.reject(new Error(`${call}: internal error (10001)`));
  return new Proxy(env.BUCKET, {
    get: (target, name): unknown => {
      const value: unknown = Reflect.get(target, name);
      return name === call ? failing : typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Writes from a buffer that is overwritten after every write. */
async function write(spool: Spool, bytes: Uint8Array, size = 65_536): Promise<void> {
  const memory = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    memory.set(piece);
    await spool.write(memory.subarray(0, piece.length));
    memory.fill(0xee);
  }
}

const readStream = async (spool: Spool, offset: number, length: number): Promise<Uint8Array> =>
  new Uint8Array(await new Response(spool.stream(offset, length)).arrayBuffer());

const same = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, at) => byte === right[at]);

describe('a spool', () => {
  it('keeps MAX_MEMORY_BYTES in memory without an object in R2', async () => {
    const { spool, keys } = newSpool(null);
    const bytes = bytesOf(MAX_MEMORY_BYTES);
    await write(spool, bytes);
    await spool.close();
    expect(same(spool.inMemory ?? new Uint8Array(), bytes)).toBe(true);
    expect(same(await spool.read(1000, 500), bytes.subarray(1000, 1500))).toBe(true);
    expect(await keys()).toEqual([]);
    await spool.discard();
  });

  it.each([
    ['as long as was expected', 3_000_000, 3_000_000, [['00001', 3_000_000]]],
    ['shorter than was expected', 3_000_000, 3_100_000, [['00001', 3_100_000]]],
    [
      'longer than was expected',
      3_000_000,
      2_000_000,
      [
        ['00001', 2_000_000],
        ['00002', 2 * FIRST_PUT_BYTES],
      ],
    ],
    [
      'not expected at all',
      FIRST_PUT_BYTES + 1,
      null,
      [
        ['00001', FIRST_PUT_BYTES],
        ['00002', 2 * FIRST_PUT_BYTES],
      ],
    ],
    ['exactly one put', FIRST_PUT_BYTES, null, [['00001', FIRST_PUT_BYTES]]],
  ])('stores data with the fewest puts when it is %s', async (_what, length, expected, stored) => {
    const { spool, keys } = newSpool(expected);
    const bytes = bytesOf(length);
    await write(spool, bytes);
    await spool.close();
    expect(spool.inMemory).toBeNull();
    expect(spool.length).toBe(length);
    expect(await keys()).toEqual(stored);
    expect(same(await readStream(spool, 0, length), bytes)).toBe(true);
    expect((await spool.read(length - 10, 100)).length).toBe(10);
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('returns any range of its data', async () => {
    const length = FIRST_PUT_BYTES + 700_000;
    const bytes = bytesOf(length);
    const { spool } = newSpool(null);
    await write(spool, bytes, 1_000_003);
    await spool.close();
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.nat({ max: length }), fc.integer({ min: FIRST_PUT_BYTES - 9, max: FIRST_PUT_BYTES + 9 })),
        fc.oneof(fc.nat({ max: 3_000_000 }), fc.nat({ max: 20 })),
        async (offset, wanted) => {
          const expected = bytes.subarray(offset, offset + wanted);
          expect(same(await spool.read(offset, wanted), expected)).toBe(true);
          expect(same(await readStream(spool, offset, expected.length), expected)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
    await spool.discard();
  });

  it('allows one reader at a time', async () => {
    const bytes = bytesOf(MAX_MEMORY_BYTES + 100_000);
    const { spool } = newSpool(bytes.length);
    await write(spool, bytes);
    await spool.close();
    const read = (offset: number) =>
      spool.inTurn(async () => {
        const part = await spool.read(offset, 50_000);
        // During this call another read would overwrite the buffer.
        await env.BUCKET.head('nothing');
        return same(part, bytes.subarray(offset, offset + 50_000));
      });
    const failing = spool.inTurn(() => Promise.reject(new Error('the reader failed')));
    expect(await Promise.all([read(0), read(70_000), read(500_000)])).toEqual([true, true, true]);
    await expect(failing).rejects.toThrow('the reader failed');
    await spool.discard();
  });

  it('leaves no object in R2 when it is discarded before its end', async () => {
    const { spool, keys } = newSpool(10_000_000);
    await write(spool, bytesOf(5_000_000));
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('rejects a write when R2 fails, and can still be discarded', async () => {
    const { spool, keys } = newSpool(10_000_000, bucketFailingOn('put'));
    await expect(write(spool, bytesOf(5_000_000))).rejects.toThrow('10001');
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('is discarded without an error when R2 fails to delete', async () => {
    const { spool, keys } = newSpool(3_000_000, bucketFailingOn('delete'));
    await write(spool, bytesOf(3_000_000));
    await spool.close();
    await spool.discard();
    expect(await keys()).toEqual([['00001', 3_000_000]]);
  });
});
