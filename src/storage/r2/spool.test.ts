import { env } from 'cloudflare:workers';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { uploadPrefix } from './keys.ts';
import { FIRST_PUT_BYTES, HELD_BYTES, Spool } from './spool.ts';

const ACCOUNT = 'spool';
let spools = 0;

/** A spool of its own, and what it has in R2. */
function opened(expected: number | null, bucket: R2Bucket = env.BUCKET) {
  spools += 1;
  const id = `s${spools}`;
  const keys = async () =>
    (await env.BUCKET.list({ prefix: uploadPrefix(ACCOUNT, id) })).objects.map(({ key, size }) => [
      key.slice(uploadPrefix(ACCOUNT, id).length),
      size,
    ]);
  return { spool: new Spool(bucket, ACCOUNT, id, expected), keys };
}

/** Bytes that differ from place to place. */
function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) {
    bytes[at] = (at * 31 + (at >> 8)) % 251;
  }
  return bytes;
}

/** R2, of which one call fails. */
function failingIn(call: 'put' | 'delete'): R2Bucket {
  const failing = (): Promise<never> => Promise.reject(new Error(`${call}: internal error (10001)`));
  return new Proxy(env.BUCKET, {
    get: (target, name): unknown => {
      const value: unknown = Reflect.get(target, name);
      return name === call ? failing : typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Writes through memory that is overwritten behind every write. */
async function write(spool: Spool, bytes: Uint8Array, size = 65_536): Promise<void> {
  const memory = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    memory.set(piece);
    await spool.write(memory.subarray(0, piece.length));
    memory.fill(0xee);
  }
}

const streamed = async (spool: Spool, offset: number, length: number): Promise<Uint8Array> =>
  new Uint8Array(await new Response(spool.stream(offset, length)).arrayBuffer());

const same = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, at) => byte === right[at]);

describe('a spool', () => {
  it('keeps in memory what is small, and puts nothing into R2', async () => {
    const { spool, keys } = opened(null);
    const bytes = bytesOf(HELD_BYTES);
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
  ])('puts into R2 what is %s, in the fewest puts', async (_what, length, expected, stored) => {
    const { spool, keys } = opened(expected);
    const bytes = bytesOf(length);
    await write(spool, bytes);
    await spool.close();
    expect(spool.inMemory).toBeNull();
    expect(spool.length).toBe(length);
    expect(await keys()).toEqual(stored);
    expect(same(await streamed(spool, 0, length), bytes)).toBe(true);
    expect((await spool.read(length - 10, 100)).length).toBe(10);
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('gives any part of what came, wherever it was cut', async () => {
    const length = FIRST_PUT_BYTES + 700_000;
    const bytes = bytesOf(length);
    const { spool } = opened(null);
    await write(spool, bytes, 1_000_003);
    await spool.close();
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.nat({ max: length }), fc.integer({ min: FIRST_PUT_BYTES - 9, max: FIRST_PUT_BYTES + 9 })),
        fc.oneof(fc.nat({ max: 3_000_000 }), fc.nat({ max: 20 })),
        async (offset, wanted) => {
          const expected = bytes.subarray(offset, offset + wanted);
          expect(same(await spool.read(offset, wanted), expected)).toBe(true);
          expect(same(await streamed(spool, offset, expected.length), expected)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
    await spool.discard();
  });

  it('lets one reader read at a time', async () => {
    const bytes = bytesOf(HELD_BYTES + 100_000);
    const { spool } = opened(bytes.length);
    await write(spool, bytes);
    await spool.close();
    const read = (offset: number) =>
      spool.inTurn(async () => {
        const part = await spool.read(offset, 50_000);
        // Time in which another read would take its memory away.
        await env.BUCKET.head('nothing');
        return same(part, bytes.subarray(offset, offset + 50_000));
      });
    const failing = spool.inTurn(() => Promise.reject(new Error('a reader gave up')));
    expect(await Promise.all([read(0), read(70_000), read(500_000)])).toEqual([true, true, true]);
    await expect(failing).rejects.toThrow('a reader gave up');
    await spool.discard();
  });

  it('leaves nothing in R2 of what is discarded in the middle', async () => {
    const { spool, keys } = opened(10_000_000);
    await write(spool, bytesOf(5_000_000));
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('rejects a write when R2 does not store what it is sent, and can be discarded then', async () => {
    const { spool, keys } = opened(10_000_000, failingIn('put'));
    await expect(write(spool, bytesOf(5_000_000))).rejects.toThrow('10001');
    await spool.discard();
    expect(await keys()).toEqual([]);
  });

  it('is discarded without a word when R2 does not delete it now', async () => {
    const { spool, keys } = opened(3_000_000, failingIn('delete'));
    await write(spool, bytesOf(3_000_000));
    await spool.close();
    await spool.discard();
    expect(await keys()).toEqual([['00001', 3_000_000]]);
  });
});
