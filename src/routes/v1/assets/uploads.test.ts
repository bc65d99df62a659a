import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import { requireConfig } from '../../../config/schema.ts';
import { PART_URL_LIFE_S } from '../../../contract/assets.ts';
import { uploadPartKey } from '../../../storage/r2/keys.ts';
import {
  anyone,
  newClient,
  ORIGIN,
  ownGateway,
  pictureOf,
  PNG,
  postJson,
  problemOf,
  storedOf,
  type Call,
} from '../../../testing/gateway.ts';
import { frozenClock } from '../../../testing/job.ts';
import { assetSchema, uploadSchema, type ApiUpload } from '../schemas.ts';

/** Parts are put here as R2 has them after a presigned put; `test/e2e/uploads.test.ts` sends them over HTTP. */

const MIB = 1024 * 1024;
const SIZE = 2 * MIB + 4321;
const { max_upload_bytes, max_open_uploads } = requireConfig(env).limits;
const UPLOAD_LIFE_MS = requireConfig(env).policy.upload_retention * 1000;

let account: string;
let call: Call;
let key: string;
beforeEach(async () => {
  ({ account, call, key } = await newClient());
});

/** A PNG of one pixel, followed by filler up to `size` bytes. Each `mark` makes a different file. */
function file(size = SIZE, mark = 7): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size).fill(mark);
  bytes.set(PNG);
  return bytes;
}
const hashOf = async (bytes: Uint8Array) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

const open = (body: Record<string, unknown>, by = call) => by('/v1/uploads', postJson(body));
const begun = async (bytes: Uint8Array<ArrayBuffer>, more: Record<string, unknown> = {}): Promise<ApiUpload> => {
  const response = await open({ size_bytes: bytes.length, sha256: await hashOf(bytes), part_bytes: MIB, ...more });
  expect(response.status).toBeLessThan(300);
  return uploadSchema.parse(await response.json());
};
const get = async (id: string) => uploadSchema.parse(await (await call(`/v1/uploads/${id}`)).json());
const complete = (id: string, by = call) => by(`/v1/uploads/${id}/complete`, { method: 'POST' });
/** A part arrives; by default as it should. */
const arrive = ({ id }: { id: string }, number: number, bytes: Uint8Array) =>
  env.BUCKET.put(uploadPartKey(account, id, number), bytes);
async function arriveAll(upload: ApiUpload, bytes: Uint8Array): Promise<void> {
  for (const { number, offset, size_bytes } of upload.missing) {
    await arrive(upload, number, bytes.subarray(offset, offset + size_bytes));
  }
}
const sweep = () => runDurableObjectAlarm(env.ACCOUNT.getByName(account));
const NOTHING = { jobs: 0, objects: 0 };

describe('an upload in parts', () => {
  it('lists missing parts, accepts them in any order, and becomes an asset', async () => {
    const bytes = file();
    const upload = await begun(bytes);
    expect(upload).toMatchObject({ status: 'open', received_bytes: 0, missing_parts: 3, asset: null });
    expect(upload.missing.map(({ number, offset, size_bytes }) => [number, offset, size_bytes])).toEqual([
      [1, 0, MIB],
      [2, MIB, MIB],
      [3, 2 * MIB, 4321],
    ]);
    await arrive(upload, 3, bytes.subarray(2 * MIB));
    await arrive(upload, 1, bytes.subarray(0, MIB));
    const halfway = await get(upload.id);
    expect(halfway).toMatchObject({ received_bytes: MIB + 4321, missing_parts: 1, missing: [{ number: 2 }] });
    await arriveAll(halfway, bytes);

    const response = await complete(upload.id);
    expect(response.status).toBe(201);
    const asset = assetSchema.parse(await response.json());
    expect(asset).toMatchObject({ id: `sha256:${upload.sha256}`, size_bytes: SIZE, content_type: 'image/png' });
    const stored = await env.BUCKET.get(`assets/${account}/${upload.sha256}`);
    expect(await hashOf((await stored?.bytes()) ?? new Uint8Array())).toBe(upload.sha256);
    // The parts are gone, and only they.
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
    expect(await get(upload.id)).toMatchObject({ status: 'stored', missing: [], asset: { id: asset.id } });
  });

  it('is found again by a request for the same file and parts', async () => {
    const bytes = file();
    const upload = await begun(bytes);
    await arrive(upload, 1, bytes.subarray(0, MIB));
    expect(await begun(bytes)).toMatchObject({ id: upload.id, received_bytes: MIB });
    expect((await begun(bytes, { part_bytes: 2 * MIB })).id).not.toBe(upload.id);
    expect((await begun(file(SIZE, 8))).id).not.toBe(upload.id);
  });

  it('is complete at once for a file that the account has', async () => {
    const bytes = file();
    const asset = assetSchema.parse(await (await call('/v1/assets', { method: 'POST', body: bytes })).json());
    const upload = await begun(bytes);
    expect(upload).toMatchObject({ status: 'stored', missing: [], asset: { id: asset.id } });
    expect((await complete(upload.id)).status).toBe(200);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('is completed once for concurrent requests', async () => {
    const bytes = file();
    const upload = await begun(bytes);
    await arriveAll(upload, bytes);
    const answers = await Promise.all(Array.from({ length: 5 }, () => complete(upload.id)));
    const assets = await Promise.all(answers.map(async (answer) => assetSchema.parse(await answer.json())));
    expect(new Set(assets.map(({ id }) => id))).toEqual(new Set([`sha256:${upload.sha256}`]));
    expect((await complete(upload.id)).status).toBe(200);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('has one part for the smallest file', async () => {
    const upload = await begun(PNG);
    expect(upload.missing).toMatchObject([{ number: 1, offset: 0, size_bytes: PNG.length }]);
    await arriveAll(upload, PNG);
    expect((await complete(upload.id)).status).toBe(201);
  });

  it('has URLs for a hundred parts at a time', async () => {
    const response = await open({ size_bytes: 101 * MIB, sha256: 'a'.repeat(64), part_bytes: MIB });
    const upload = uploadSchema.parse(await response.json());
    expect([upload.missing_parts, upload.missing.length]).toEqual([101, 100]);
  });
});

describe('an invalid upload in parts', () => {
  it.each([
    ['with a part missing', 2, null],
    ['with a part that is a byte short', 2, MIB - 1],
    ['with a part that is a byte too long', 2, MIB + 1],
    ['with the last part a byte too long', 3, 4322],
  ])('is refused for %s, and can continue', async (_what, number, size) => {
    const bytes = file();
    const upload = await begun(bytes);
    await arriveAll(upload, bytes);
    const at = uploadPartKey(account, upload.id, number);
    await (size === null ? env.BUCKET.delete(at) : env.BUCKET.put(at, new Uint8Array(size)));
    expect(await problemOf(await complete(upload.id))).toMatchObject({ status: 409, code: 'upload_incomplete' });
    const now = await get(upload.id);
    expect(now.missing.map((part) => part.number)).toEqual([number]);
    await arriveAll(now, bytes);
    expect((await complete(upload.id)).status).toBe(201);
  });

  it.each([
    ['a part that was altered', (bytes: Uint8Array) => bytes.set([0], MIB + 5), 'hash_mismatch'],
    ['an unsupported file type', (bytes: Uint8Array) => bytes.fill(0, 0, 100), 'unsupported_media'],
    ['an image of too many pixels', (bytes: Uint8Array) => bytes.set(pictureOf(60_000, 60_000)), 'image_too_large'],
    [
      'a picture of too many pixels behind the first, across two parts',
      (bytes: Uint8Array) => bytes.set(pictureOf(60_000, 60_000), 2 * MIB - 18),
      'image_too_large',
    ],
  ])('is refused for %s, and deleted', async (_what, alter, code) => {
    const bytes = file();
    const upload = await begun(bytes);
    const altered = bytes.slice();
    alter(altered);
    await arriveAll(upload, altered);
    expect(await problemOf(await complete(upload.id))).toMatchObject({ status: 422, code });
    expect(await storedOf(account)).toEqual(NOTHING);
    expect((await call(`/v1/uploads/${upload.id}`)).status).toBe(404);
    expect((await complete(upload.id)).status).toBe(404);
  });

  it('is refused at its start for invalid sizes, hashes, names and parts', async () => {
    const good = { size_bytes: SIZE, sha256: 'a'.repeat(64) };
    const cases: [Record<string, unknown>, number, string][] = [
      [{ ...good, size_bytes: 0 }, 422, 'out_of_range'],
      [{ ...good, size_bytes: 1.5 }, 422, 'invalid_type'],
      [{ ...good, size_bytes: max_upload_bytes + 1 }, 413, 'file_too_large'],
      [{ ...good, sha256: 'A'.repeat(64) }, 422, 'invalid_value'],
      [{ ...good, sha256: 'a'.repeat(63) }, 422, 'invalid_value'],
      [{ sha256: good.sha256 }, 422, 'required'],
      [{ ...good, name: '../x' }, 422, 'invalid_name'],
      [{ ...good, part_bytes: MIB - 1 }, 422, 'out_of_range'],
      [{ ...good, part_bytes: 64 * MIB + 1 }, 422, 'out_of_range'],
      [{ ...good, size_bytes: 1000 * MIB + 1, part_bytes: MIB }, 422, 'out_of_range'],
      [{ ...good, parts: 3 }, 422, 'unknown_field'],
    ];
    for (const [body, status, code] of cases) {
      expect(await problemOf(await open(body))).toMatchObject({ status, code });
    }
    for (const body of [
      { ...good, size_bytes: max_upload_bytes, part_bytes: 64 * MIB },
      { ...good, size_bytes: 1000 * MIB, part_bytes: MIB },
    ]) {
      expect((await open(body)).status).toBe(201);
    }
    expect(await storedOf(account)).toEqual(NOTHING);
  });

  it('is refused while max_open_uploads uploads are open', async () => {
    const clock = frozenClock();
    const announce = (at: number) => open({ size_bytes: SIZE, sha256: at.toString(16).padStart(64, '0') });
    const ids: string[] = [];
    for (let at = 0; at < max_open_uploads; at += 1) {
      ids.push(uploadSchema.parse(await (await announce(at)).json()).id);
    }
    expect(await problemOf(await announce(999))).toMatchObject({ status: 422, code: 'too_many_uploads' });
    // One that is under way already is found, not counted.
    expect((await announce(0)).status).toBe(200);
    expect((await call(`/v1/uploads/${ids[0]}`, { method: 'DELETE' })).status).toBe(204);
    // Its URLs still work: opening and deleting must not be a way to fill the bucket.
    expect(await problemOf(await announce(999))).toMatchObject({ status: 422, code: 'too_many_uploads' });
    clock.pass(PART_URL_LIFE_S * 1000 + 600_000);
    expect((await announce(999)).status).toBe(201);
  });
});

describe('an upload of another account', () => {
  it('is not found, and cannot be completed or deleted', async () => {
    const bytes = file();
    const upload = await begun(bytes);
    await arriveAll(upload, bytes);
    const stranger = await newClient();
    const missing = await problemOf(await stranger.call('/v1/uploads/0192f0c1-0000-7000-8000-000000000000'));
    for (const [path, method] of [
      [`/v1/uploads/${upload.id}`, 'GET'],
      [`/v1/uploads/${upload.id}`, 'DELETE'],
      [`/v1/uploads/${upload.id}/complete`, 'POST'],
      ['/v1/uploads/nonsense', 'GET'],
    ] as const) {
      const seen = await problemOf(await stranger.call(path, { method }));
      expect({ ...seen, request_id: '' }).toEqual({ ...missing, request_id: '' });
    }
    // The same hash there is an upload of its own, with everything missing.
    const theirs = await open({ size_bytes: SIZE, sha256: upload.sha256, part_bytes: MIB }, stranger.call);
    expect(theirs.status).toBe(201);
    expect(uploadSchema.parse(await theirs.json())).toMatchObject({ missing_parts: 3, status: 'open' });
    expect((await anyone(`/v1/uploads/${upload.id}`)).status).toBe(401);
    expect((await complete(upload.id)).status).toBe(201);
  });
});

describe('an idle upload', () => {
  it('expires with its parts, unless a client reads it', async () => {
    const clock = frozenClock();
    const bytes = file();
    const [asked, left] = [await begun(bytes), await begun(file(SIZE, 8))];
    await arriveAll(asked, bytes);
    await arriveAll(left, file(SIZE, 8));
    clock.pass(UPLOAD_LIFE_MS - 1);
    await get(asked.id);
    clock.pass(1);
    expect((await call(`/v1/uploads/${left.id}`)).status).toBe(404);
    expect((await complete(left.id)).status).toBe(404);
    await sweep();
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 3 });
    expect((await complete(asked.id)).status).toBe(201);
  });

  it('expires at last even when a client keeps reading it', async () => {
    const clock = frozenClock();
    const upload = await begun(file());
    for (let day = 0; day < 8; day += 1) {
      await call(`/v1/uploads/${upload.id}`);
      clock.pass(UPLOAD_LIFE_MS - 1);
    }
    expect((await call(`/v1/uploads/${upload.id}`)).status).toBe(404);
  });

  it('loses late parts after it was deleted or stored', async () => {
    const clock = frozenClock();
    const bytes = file();
    const [dropped, stored] = [await begun(file(SIZE, 8)), await begun(bytes)];
    expect((await call(`/v1/uploads/${dropped.id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await call(`/v1/uploads/${dropped.id}`)).status).toBe(404);
    await arriveAll(stored, bytes);
    await complete(stored.id);
    // Their URLs still worked.
    await arrive(dropped, 1, new Uint8Array(MIB));
    await arrive(stored, 2, new Uint8Array(MIB));
    clock.pass(UPLOAD_LIFE_MS);
    await sweep();
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
  });

  it('is cleared soon after its last URL has expired', async () => {
    const clock = frozenClock();
    const upload = await begun(file());
    await call(`/v1/uploads/${upload.id}`, { method: 'DELETE' });
    await arrive(upload, 1, new Uint8Array(MIB));
    clock.pass(PART_URL_LIFE_S * 1000 + 600_000);
    await sweep();
    expect(await storedOf(account)).toEqual(NOTHING);
  });
});

describe('a part that is put again while the upload is completed', () => {
  it.each([1, 3])('does not replace the inspected part: part %i', async (number) => {
    const offset = (number - 1) * MIB;
    const harmless = file();
    const huge = harmless.slice();
    huge.set(pictureOf(60_000, 60_000), offset);
    const upload = await begun(huge);
    await arriveAll(upload, harmless);
    const BUCKET = new Proxy(env.BUCKET, {
      get: (bucket, name) =>
        name === 'get'
          ? async (at: string, options?: R2GetOptions) => {
              const found = await bucket.get(at, options);
              if (options?.range !== undefined && at === uploadPartKey(account, upload.id, number)) {
                await arrive(upload, number, huge.subarray(offset, offset + MIB));
              }
              return found;
            }
          : (...args: unknown[]) => Reflect.apply(Reflect.get(bucket, name), bucket, args),
    });
    const request = new Request(`${ORIGIN}/v1/uploads/${upload.id}/complete`, { method: 'POST' });
    request.headers.set('authorization', `Bearer ${key}`);
    const answer = await ownGateway().fetch(request, { ...env, BUCKET });
    expect(await problemOf(answer)).toMatchObject({ status: 409, code: 'upload_incomplete' });
    expect(await problemOf(await complete(upload.id))).toMatchObject({ status: 422, code: 'image_too_large' });
    expect(await storedOf(account)).toEqual(NOTHING);
  });
});
