import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { requireConfig } from '../../../config/schema.ts';
import { IDLE_TIMEOUT_MS } from '../../../lib/stalled-stream.ts';
import { assetKey } from '../../../storage/r2/keys.ts';
import { FIRST_PUT_BYTES, MAX_MEMORY_BYTES } from '../../../storage/r2/spool.ts';
import {
  newClient,
  ORIGIN,
  ownGateway,
  pictureOf,
  PNG,
  problemOf,
  storedOf,
  type Call,
} from '../../../testing/gateway.ts';
import { assetSchema } from '../schemas.ts';

let account: string;
let key: string;
let call: Call;

beforeEach(async () => {
  ({ account, key, call } = await newClient());
});

const upload = (body: BodyInit | null, headers: Record<string, string> = {}) =>
  call('/v1/assets', { method: 'POST', body, headers });
const sha256 = async (bytes: Uint8Array) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

/** Larger than the buffer in memory, and than one part of an upload without a content length. */
const LARGE_BYTES = 8 * 1024 * 1024;

/** A PNG followed by filler up to `size` bytes. Each `fill` makes a different file. */
function large(size: number, fill = 7): Uint8Array {
  const bytes = new Uint8Array(size).fill(fill);
  bytes.set(PNG);
  return bytes;
}

/** A body without Content-Length, in chunks that fit no part. */
function chunked(bytes: Uint8Array, size = 1_000_003): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) {
        controller.close();
        return;
      }
      controller.enqueue(bytes.slice(at, at + size));
      at += size;
    },
  });
}

describe('an upload', () => {
  it('is stored under its hash, with the type of its bytes', async () => {
    const response = await upload(PNG, { 'content-type': 'text/html' });
    expect(response.status).toBe(201);
    const hash = await sha256(PNG);
    expect(assetSchema.parse(await response.json())).toMatchObject({
      id: `sha256:${hash}`,
      object: 'asset',
      size_bytes: PNG.length,
      content_type: 'image/png',
      sha256: hash,
    });
    const stored = await env.BUCKET.get(assetKey(account, hash));
    expect(stored?.httpMetadata?.contentType).toBe('image/png');
    expect(await stored?.bytes()).toEqual(PNG);
  });

  it('answers 200 with the same asset for a known file', async () => {
    const first = await upload(PNG);
    const second = await upload(PNG);
    expect([first.status, second.status]).toEqual([201, 200]);
    const [asset, again] = [assetSchema.parse(await first.json()), assetSchema.parse(await second.json())];
    expect({ ...again, expires_at: asset.expires_at }).toEqual(asset);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('creates one asset for concurrent uploads of a file', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => upload(PNG)));
    expect(answers.every((answer) => answer.status === 200 || answer.status === 201)).toBe(true);
    await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it.each([
    ['one byte less than the memory buffer', MAX_MEMORY_BYTES - 1],
    ['the memory buffer', MAX_MEMORY_BYTES],
    ['one byte more than the memory buffer', MAX_MEMORY_BYTES + 1],
    ['one put', FIRST_PUT_BYTES],
    ['one put and a byte', FIRST_PUT_BYTES + 1],
    ['two puts', 3 * FIRST_PUT_BYTES],
    ['two puts and some', 3 * FIRST_PUT_BYTES + 12_345],
  ])('stores %s completely, and nothing else', async (_title, size) => {
    const bytes = large(size);
    const response = await upload(chunked(bytes));
    expect(response.status).toBe(201);
    const asset = assetSchema.parse(await response.json());
    expect(asset).toMatchObject({ size_bytes: size, sha256: await sha256(bytes), content_type: 'image/png' });
    const stored = await env.BUCKET.get(assetKey(account, asset.sha256));
    expect(await sha256(await (stored?.bytes() ?? new Uint8Array()))).toBe(asset.sha256);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
    expect((await upload(bytes)).status).toBe(200);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('may be a form with one file, whose name gives the kind of a text', async () => {
    const form = new FormData();
    form.set('file', new File(['o cube\nv 0 0 0\n'], 'cube.obj', { type: 'image/png' }));
    const response = await upload(form);
    expect(response.status).toBe(201);
    expect(assetSchema.parse(await response.json()).content_type).toBe('model/obj');
  });
});

describe('an invalid upload', () => {
  it('is refused when it is empty', async () => {
    for (const body of [null, new Uint8Array(), chunked(new Uint8Array())]) {
      expect(await problemOf(await upload(body))).toMatchObject({ status: 400, code: 'empty_file' });
    }
  });

  it.each(['hello', '<svg/>', '%PDF-1.7', '{"a": 1}'])('is refused for an unsupported type: %s', async (text) => {
    const headers = { 'content-type': 'image/png' };
    expect(await problemOf(await upload(text, headers))).toMatchObject({ status: 422, code: 'unsupported_media' });
  });

  it('is refused and deleted when it is large and of an unsupported type', async () => {
    for (const body of [chunked(new Uint8Array(LARGE_BYTES + 1)), new Uint8Array(LARGE_BYTES + 1)]) {
      expect(await problemOf(await upload(body))).toMatchObject({ status: 422, code: 'unsupported_media' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused when it is too large, by its stated or its real length', async () => {
    const limit = LARGE_BYTES + 1000;
    const app = ownGateway();
    const small = { ...env, LIMITS: JSON.stringify({ max_asset_bytes: limit }) };
    const send = (body: BodyInit) =>
      app.fetch(
        new Request(`${ORIGIN}/v1/assets`, { method: 'POST', body, headers: { authorization: `Bearer ${key}` } }),
        small,
      );
    expect((await send(large(limit))).status).toBe(201);
    for (const body of [large(limit + 1), chunked(large(limit + 1))]) {
      expect(await problemOf(await send(body))).toMatchObject({ status: 413, code: 'file_too_large' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('is refused when an image has one pixel too many', async () => {
    const { max_image_pixels } = requireConfig(env).limits;
    expect((await upload(pictureOf(max_image_pixels, 1))).status).toBe(201);
    for (const [width, height] of [
      [max_image_pixels + 1, 1],
      [0x7fffffff, 0x7fffffff],
    ] as const) {
      const problem = await problemOf(await upload(pictureOf(width, height)));
      expect(problem).toMatchObject({ status: 422, code: 'image_too_large' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('is refused when a later frame has too many pixels', async () => {
    const bytes = large(LARGE_BYTES + 100_000);
    bytes.set(pictureOf(60_000, 60_000), bytes.length - 1000);
    for (const body of [bytes, chunked(bytes)]) {
      expect(await problemOf(await upload(body))).toMatchObject({ status: 422, code: 'image_too_large' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused when an image does not state its size', async () => {
    for (const body of [PNG.subarray(0, 20), pictureOf(0, 1), large(LARGE_BYTES + 1).fill(7, 8)]) {
      expect(await problemOf(await upload(body))).toMatchObject({ status: 422, code: 'unsupported_media' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused and deleted when the connection ends early', async () => {
    const bytes = large(LARGE_BYTES + 100_000);
    for (const end of [0, 1, PNG.length, 500_000, LARGE_BYTES + 1]) {
      let at = 0;
      const broken = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at >= end) {
            controller.error(new Error('connection reset'));
            return;
          }
          controller.enqueue(bytes.slice(at, Math.min(end, at + 1_000_003)));
          at += 1_000_003;
        },
      });
      const sent = { method: 'POST', body: broken, headers: { authorization: `Bearer ${key}` } };
      const answer = await ownGateway().fetch(new Request(`${ORIGIN}/v1/assets`, sent), env);
      expect(await problemOf(answer)).toMatchObject({ status: 400, code: 'incomplete_body' });
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(await (await call('/v1/assets')).json()).toMatchObject({ data: [] });
  });

  it('is refused and deleted when it stalls for a minute', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const asked = Promise.withResolvers<void>();
    let dropped = false;
    const bytes = large(LARGE_BYTES + 1000);
    const stalled = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          controller.enqueue(bytes);
          asked.resolve();
          return new Promise(() => {});
        },
        cancel() {
          dropped = true;
        },
      },
      { highWaterMark: 0 },
    );
    const sent = { method: 'POST', body: stalled, headers: { authorization: `Bearer ${key}` } };
    let answered = false;
    const answer = ownGateway()
      .fetch(new Request(`${ORIGIN}/v1/assets`, sent), env)
      .finally(() => {
        answered = true;
      });
    await asked.promise;
    await vi.advanceTimersByTimeAsync(IDLE_TIMEOUT_MS - 1000);
    expect(answered).toBe(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await problemOf(await answer)).toMatchObject({ status: 400, code: 'incomplete_body' });
    expect(dropped).toBe(true);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused when its form has anything but one file', async () => {
    const two = new FormData();
    two.append('file', new File([PNG], 'a.png'));
    two.append('file', new File([PNG], 'b.png'));
    const text = new FormData();
    text.set('file', 'no file');
    const other = new FormData();
    other.set('image', new File([PNG], 'a.png'));
    for (const body of [two, text, other]) {
      expect(await problemOf(await upload(body))).toMatchObject({ status: 400, code: 'invalid_multipart' });
    }
    for (const type of ['multipart/form-data', 'multipart/form-data; boundary=x']) {
      const seen = await problemOf(await upload('--x\r\nnonsense', { 'content-type': type }));
      expect(seen.code).toBe('invalid_multipart');
    }
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is refused when it is compressed', async () => {
    const seen = await problemOf(await upload(PNG, { 'content-encoding': 'gzip' }));
    expect(seen.code).toBe('unsupported_media_type');
  });
});

describe('an account', () => {
  it('does not learn that another account has the same file', async () => {
    expect((await upload(PNG)).status).toBe(201);
    const other = await newClient();
    expect((await other.call('/v1/assets', { method: 'POST', body: PNG })).status).toBe(201);
  });
});
