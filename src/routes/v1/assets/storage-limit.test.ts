import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PART_URL_LIFE_S } from '../../../contract/assets.ts';
import { uploadPartKey } from '../../../storage/r2/keys.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { frozenClock } from '../../../testing/job.ts';
import { uploadSchema } from '../schemas.ts';

/** A file of 100 bytes; each `mark` is another. */
function file(mark: number, size = 100): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size).fill(mark);
  bytes.set(PNG);
  return bytes;
}
const hashOf = async (bytes: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

/** A client of an account that may store `stored_bytes`. */
async function limited(stored_bytes: number) {
  const client = await newClient();
  await env.ACCOUNT.getByName(client.account).setLimits({ stored_bytes });
  return client;
}
const upload = (call: Call, bytes: Uint8Array<ArrayBuffer>) => call('/v1/assets', { method: 'POST', body: bytes });
const announce = async (call: Call, bytes: Uint8Array<ArrayBuffer>) =>
  call('/v1/uploads', postJson({ size_bytes: bytes.length, sha256: await hashOf(bytes) }));
const FULL = { status: 422, code: 'storage_full' };

describe('the storage limit of an account', () => {
  it('accepts the last byte, and not one more', async () => {
    const { account, call } = await limited(200);
    expect((await upload(call, file(1))).status).toBe(201);
    expect(await problemOf(await upload(call, file(2, 101)))).toMatchObject(FULL);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 1 });
    expect((await upload(call, file(2))).status).toBe(201);
    // What is there already costs nothing more.
    expect((await upload(call, file(1))).status).toBe(200);
    expect(await problemOf(await upload(call, file(3)))).toMatchObject(FULL);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 2 });
  });

  it('holds for concurrent files', async () => {
    const { account, call } = await limited(350);
    const answers = await Promise.all(Array.from({ length: 12 }, (_, at) => upload(call, file(at))));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(3).fill(201), ...Array(9).fill(422)]);
    await vi.waitFor(async () => expect((await storedOf(account)).objects).toBe(3));
  });

  it('has room again after a delete', async () => {
    const { call } = await limited(100);
    await upload(call, file(1));
    await call(`/v1/assets/sha256:${await hashOf(file(1))}`, { method: 'DELETE' });
    expect((await upload(call, file(2))).status).toBe(201);
  });

  it('holds for the files of a job, which is refused as a whole', async () => {
    answerRunpod();
    const { account, call } = await limited(250);
    const inputs = (...marks: number[]) => marks.map((mark) => ({ name: `${mark}.png`, data: file(mark).toBase64() }));
    await submitted(call, { inputs: inputs(1, 2) });
    const refused = await call('/v1/jobs', postJson({ workflow: GRAPH, inputs: inputs(2, 3) }));
    expect(await problemOf(refused)).toMatchObject(FULL);
    expect((await storedOf(account)).objects).toBe(2);
    await submitted(call, { inputs: inputs(1, 2) });
  });

  it('holds for a file by URL', async () => {
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.resolve(new Response(file(1, 101))));
    onTestFinished(() => spy.mockRestore());
    const { account, call } = await limited(100);
    const inputs = [{ name: 'a.png', url: 'https://files.example.com/a' }];
    const problem = await problemOf(await call('/v1/jobs', postJson({ workflow: GRAPH, inputs })));
    expect(problem).toMatchObject({ ...FULL, errors: [{ pointer: '#/inputs/0/url', code: 'storage_full' }] });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is reserved for an upload until it is stored or its URLs have expired', async () => {
    const { account, call } = await limited(200);
    const under = uploadSchema.parse(await (await announce(call, file(1))).json());
    expect(await problemOf(await announce(call, file(2, 101)))).toMatchObject(FULL);
    expect(await problemOf(await upload(call, file(2, 101)))).toMatchObject(FULL);
    expect((await upload(call, file(2))).status).toBe(201);
    await env.BUCKET.put(uploadPartKey(account, under.id, 1), file(1));
    expect((await call(`/v1/uploads/${under.id}/complete`, { method: 'POST' })).status).toBe(201);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 2 });

    const other = await limited(100);
    const { id } = uploadSchema.parse(await (await announce(other.call, file(1))).json());
    expect(await problemOf(await upload(other.call, file(2)))).toMatchObject(FULL);
    const clock = frozenClock();
    await other.call(`/v1/uploads/${id}`, { method: 'DELETE' });
    expect(await problemOf(await upload(other.call, file(2)))).toMatchObject(FULL);
    clock.pass(PART_URL_LIFE_S * 1000 + 600_000);
    expect((await upload(other.call, file(2))).status).toBe(201);
  });
});
