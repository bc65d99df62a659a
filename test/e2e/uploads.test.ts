import { createHash, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { z } from 'zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ComfyEdge } from '../../clients/sdk/index.ts';
import { ensureApiKey } from '../../local/stack/api-key.ts';
import { type Gateway, startGateway } from '../../local/stack/gateway.ts';
import { valueOf } from '../../local/stack/outcome.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { readSecrets } from '../../local/stack/secrets.ts';
import { newStateDirectory } from '../../local/stack/testing/state.ts';

/** Uploads in parts over real HTTP: the real gateway, and the local S3 endpoint of R2 that receives the parts. */

const root = resolve(import.meta.dirname, '..', '..');
const MIB = 1024 * 1024;
/** Set it to repeat a failed run: the seed is in the test's title. */
const SEED = Number(process.env['UPLOAD_SEED'] ?? 20261121);

let gateway: Gateway;
let directory: string;
let key: string;
let edge: ComfyEdge;

beforeAll(async () => {
  directory = await newStateDirectory('uploads');
  const signal = AbortSignal.timeout(100_000);
  const secrets = readSecrets(directory);
  gateway = valueOf(
    await startGateway({
      root,
      directory,
      port: valueOf(await claimPort({ port: 0, purpose: 'gateway', variable: 'PORT' })),
      runpodUrl: 'http://127.0.0.1:9',
      endpoints: { default: { runpod_id: 'none', environment: 'any' } },
      secrets,
      policy: {},
      limits: {},
      signal,
    }),
  );
  key = valueOf(await ensureApiKey(gateway.url, directory, secrets, signal));
  edge = new ComfyEdge({ url: gateway.url, key });
});
afterAll(async () => {
  await gateway.stop();
  rmSync(directory, { recursive: true, force: true });
});

const partShape = z.object({ number: z.int(), offset: z.int(), size_bytes: z.int(), url: z.url() });
const uploadShape = z.object({
  id: z.string(),
  status: z.string(),
  received_bytes: z.int(),
  missing: z.array(partShape),
});
type Upload = z.infer<typeof uploadShape>;
type Part = z.infer<typeof partShape>;

/** A call with the account's key. */
const call = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${gateway.url}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
  });

/** The first bytes of a PNG, followed by random ones. */
function newFile(size: number): Buffer<ArrayBuffer> {
  const bytes = randomBytes(size);
  Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex').copy(bytes);
  return bytes;
}
const sha256Of = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const announced = (bytes: Buffer, part_bytes = MIB) =>
  JSON.stringify({ size_bytes: bytes.length, sha256: sha256Of(bytes), part_bytes });
const open = async (bytes: Buffer): Promise<Upload> =>
  uploadShape.parse(await (await call('/v1/uploads', { method: 'POST', body: announced(bytes) })).json());
const state = async (id: string): Promise<Upload> => uploadShape.parse(await (await call(`/v1/uploads/${id}`)).json());
const complete = (id: string) => call(`/v1/uploads/${id}/complete`, { method: 'POST' });
const pieceOf = (bytes: Buffer<ArrayBuffer>, { offset, size_bytes }: Part) =>
  bytes.subarray(offset, offset + size_bytes);

function fail(message: string): never {
  throw new Error(message);
}

/** Sends the first `after` bytes of a part and cuts the connection. Resolves when it is closed or answered. */
function cut(part: Part, piece: Buffer, after: number): Promise<void> {
  return new Promise((done) => {
    const sending = request(part.url, { method: 'PUT', headers: { 'content-length': piece.length } }, (response) => {
      response.resume();
      response.on('close', done);
    });
    sending.on('error', () => {});
    sending.on('close', done);
    sending.write(piece.subarray(0, after), () => sending.destroy());
  });
}

/**
 * The status of the refusal of a PUT of `size` bytes. Only its head is sent, which is all that R2 checks: a refusal that
 * arrives while the body is still being written can be lost with the connection.
 */
function announce(url: string, size: number): Promise<number> {
  return new Promise((done, reject) => {
    const sending = request(url, { method: 'PUT', headers: { 'content-length': size }, agent: false }, (response) => {
      done(response.statusCode ?? 0);
      sending.destroy();
    });
    sending.on('error', reject);
    sending.flushHeaders();
  });
}

/** Random numbers from 0 to 1, determined by the seed (mulberry32). */
function chance(seed: number): () => number {
  let at = seed;
  return () => {
    at = (at + 0x6d2b79f5) | 0;
    let mixed = Math.imul(at ^ (at >>> 15), 1 | at);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('an upload in parts', () => {
  it(`is complete after connections were cut at any byte (seed ${SEED})`, async () => {
    const random = chance(SEED);
    const bytes = newFile(6 * MIB + 777);
    const first = await open(bytes);
    const numbers = ({ missing }: Upload) => missing.map(({ number }) => number);
    const cuts: { before: number[]; after: number[]; completed: number }[] = [];
    const sent: number[] = [];
    for (let upload = first; upload.missing.length > 0; upload = await state(first.id)) {
      const part = upload.missing[Math.floor(random() * upload.missing.length)] ?? fail('nothing is missing');
      const piece = pieceOf(bytes, part);
      if (cuts.length < 12 && random() < 0.7) {
        await cut(part, piece, Math.floor(random() * piece.length));
        const { status } = await complete(first.id);
        cuts.push({ before: numbers(upload), after: numbers(await state(first.id)), completed: status });
      } else {
        sent.push((await fetch(part.url, { method: 'PUT', body: piece })).status);
      }
    }
    expect(cuts.length).toBeGreaterThan(3);
    for (const { before, after, completed } of cuts) {
      // A cut part is missing as a whole, and no other part is.
      expect(after).toEqual(before);
      expect(completed).toBe(409);
    }
    expect(sent).toEqual(Array.from({ length: 7 }, () => 200));
    const upload = first;
    const answer = await complete(upload.id);
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ size_bytes: bytes.length, sha256: sha256Of(bytes) });
  });

  it('continues after the gateway was killed', async () => {
    const bytes = newFile(2 * MIB + 5);
    const upload = await open(bytes);
    const first = upload.missing[0] ?? fail('nothing to send');
    await fetch(first.url, { method: 'PUT', body: pieceOf(bytes, first) });
    await gateway.kill9();
    valueOf(await gateway.restart());
    const now = await open(bytes);
    expect(now).toMatchObject({ id: upload.id, received_bytes: MIB });
    for (const part of now.missing) {
      await fetch(part.url, { method: 'PUT', body: pieceOf(bytes, part) });
    }
    const answers = await Promise.all([complete(upload.id), complete(upload.id)]);
    expect(answers.every(({ ok }) => ok)).toBe(true);
  });

  it('rejects a part with another size, another path, or no signature', async () => {
    const bytes = newFile(2 * MIB);
    const upload = await open(bytes);
    const first = upload.missing[0] ?? fail('nothing to send');
    for (const size of [1, MIB - 1, MIB + 1]) {
      expect(await announce(first.url, size)).toBe(403);
    }
    const elsewhere = new URL(first.url);
    elsewhere.pathname = elsewhere.pathname.replace('/00001', '/00002');
    const unsigned = new URL(first.url);
    unsigned.search = '';
    const longer = new URL(first.url);
    longer.searchParams.set('X-Amz-Expires', '604800');
    expect(await announce(elsewhere.href, MIB)).toBe(403);
    expect(await announce(longer.href, MIB)).toBe(403);
    expect(await announce(unsigned.href, MIB)).toBe(400);
    // The URL allows writing the part, not reading it.
    expect((await fetch(first.url)).status).toBe(403);
    expect((await state(upload.id)).received_bytes).toBe(0);
    expect((await fetch(first.url, { method: 'PUT', body: pieceOf(bytes, first) })).status).toBe(200);
    expect((await state(upload.id)).received_bytes).toBe(MIB);
  });
});

describe('an upload by the TypeScript client', () => {
  it('sends a file above the request limit in parts and reports progress', async () => {
    const bytes = newFile(101 * MIB);
    const seen: number[] = [];
    const asset = await edge.assets.upload(bytes, { onProgress: (sent) => seen.push(sent) });
    expect(asset).toMatchObject({ size_bytes: bytes.length, sha256: sha256Of(bytes) });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(bytes.length);
    expect((await edge.assets.get(asset.id)).sha256).toBe(asset.sha256);
    await edge.assets.delete(asset.id);
    expect((await edge.assets.list()).data.map(({ id }) => id)).not.toContain(asset.id);
  });

  it('resumes an interrupted upload of the same file without sending a part twice', async () => {
    const bytes = newFile(4 * MIB);
    const sent: string[] = [];
    const flaky = (maxParts: number): ComfyEdge =>
      new ComfyEdge({
        url: gateway.url,
        key,
        timing: { now: () => 0, random: () => 0, delay: () => Promise.reject(new Error('aborted')) },
        fetch: (input, init) => {
          if (init?.method !== 'PUT') {
            return fetch(input, init);
          }
          if (sent.length >= maxParts) {
            return Promise.reject(new TypeError('connection reset'));
          }
          sent.push(new URL(String(input)).pathname);
          return fetch(input, init);
        },
      });
    await expect(flaky(2).assets.upload(bytes, { partBytes: MIB })).rejects.toThrow('aborted');
    const asset = await flaky(9).assets.upload(bytes, { partBytes: MIB });
    expect(asset.sha256).toBe(sha256Of(bytes));
    expect(sent.length).toBe(4);
    expect(new Set(sent).size).toBe(4);
  });

  it('rejects immediately when the gateway refuses the file', async () => {
    const nothing = new Blob([new Uint8Array(2 * MIB)]);
    await expect(edge.assets.upload(nothing, { partBytes: MIB })).rejects.toMatchObject({ code: 'unsupported_media' });
  });
});
