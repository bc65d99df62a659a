import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { requireConfig } from '../../../config/schema.ts';
import { assetKey } from '../../../storage/r2/keys.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  pictureOf,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { frozenClock, harnessOf, drained } from '../../../testing/job.ts';
import { assetPageSchema, assetSchema, type ApiAsset } from '../schemas.ts';

const { asset_retention, max_finish_within } = requireConfig(env).policy;
const RETENTION_MS = asset_retention * 1000;
const MINUTE_MS = 60_000;

/** Another file each time: a PNG with a byte behind its end. */
const picture = (mark: number): Uint8Array<ArrayBuffer> => new Uint8Array([...PNG, mark]);

const uploaded = async (call: Call, file: Uint8Array<ArrayBuffer> = picture(0)): Promise<ApiAsset> =>
  assetSchema.parse(await (await call('/v1/assets', { method: 'POST', body: file })).json());

const usedBy = (call: Call, asset: string, more: Record<string, unknown> = {}) =>
  submitted(call, { inputs: [{ name: 'a.png', asset }], ...more });
const cancel = (call: Call, id: string) => call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
const erase = (call: Call, id: string) => call(`/v1/jobs/${id}`, { method: 'DELETE' });
const expiry = async (call: Call, id: string) =>
  Date.parse(assetSchema.parse(await (await call(`/v1/assets/${id}`)).json()).expires_at);
const isThere = async (account: string, asset: { sha256: string }) =>
  (await env.BUCKET.head(assetKey(account, asset.sha256))) !== null;
/** Rings the account's alarm, which sweeps. */
const sweep = (account: string) => runDurableObjectAlarm(env.ACCOUNT.getByName(account));

const ABSENT = `/v1/assets/sha256:${'0'.repeat(64)}`;

describe('an asset', () => {
  it('is shown by its id and listed newest first, page by page', async () => {
    const { call } = await newClient();
    const assets: ApiAsset[] = [];
    for (const mark of [1, 2, 3]) {
      assets.push(await uploaded(call, picture(mark)));
    }
    expect(await (await call(`/v1/assets/${assets[1]?.id}`)).json()).toEqual(assets[1]);
    const first = assetPageSchema.parse(await (await call('/v1/assets?limit=2')).json());
    // One that comes meanwhile moves no page.
    await uploaded(call, picture(4));
    const second = assetPageSchema.parse(await (await call(`/v1/assets?limit=2&cursor=${first.next_cursor}`)).json());
    expect([...first.data, ...second.data]).toEqual(assets.toReversed());
    expect([first.has_more, second.has_more, second.next_cursor]).toEqual([true, false, null]);
  });

  it('is not found for another account, as for a missing and a malformed id', async () => {
    const { call } = await newClient();
    const stranger = await newClient();
    const { id } = await uploaded(stranger.call);
    const missing = await problemOf(await call(ABSENT));
    for (const path of [`/v1/assets/${id}`, '/v1/assets/nonsense', '/v1/assets/sha256:00']) {
      for (const method of ['GET', 'DELETE']) {
        expect({ ...(await problemOf(await call(path, { method }))), request_id: '' }).toEqual({
          ...missing,
          request_id: '',
        });
      }
    }
    expect((await call('/v1/assets?cursor=x')).status).toBe(400);
    expect(assetPageSchema.parse(await (await call('/v1/assets')).json()).data).toEqual([]);
    expect((await stranger.call(`/v1/assets/${id}`)).status).toBe(200);
  });

  it('is deleted with its file, and can be uploaded again', async () => {
    const { account, call } = await newClient();
    const asset = await uploaded(call);
    expect((await call(`/v1/assets/${asset.id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect((await call(`/v1/assets/${asset.id}`)).status).toBe(404);
    const refused = await problemOf(
      await call('/v1/jobs', postJson({ workflow: GRAPH, inputs: [{ name: 'a.png', asset: asset.id }] })),
    );
    expect(refused).toMatchObject({ code: 'unknown_asset', errors: [{ pointer: '#/inputs/0/asset' }] });
    expect((await call('/v1/assets', { method: 'POST', body: picture(0) })).status).toBe(201);
    expect(await isThere(account, asset)).toBe(true);
    expect((await call(`/v1/assets/${asset.id}`)).status).toBe(200);
  });

  it('is deleted when its file could not be, and the file follows later', async () => {
    const { account, call } = await newClient();
    const asset = await uploaded(call);
    const broken = vi.spyOn(env.BUCKET, 'delete').mockRejectedValueOnce(new Error('not now'));
    expect((await call(`/v1/assets/${asset.id}`, { method: 'DELETE' })).status).toBe(500);
    broken.mockRestore();
    expect(await isThere(account, asset)).toBe(true);
    expect((await call(`/v1/assets/${asset.id}`)).status).toBe(404);
    expect(await sweep(account)).toBe(true);
    expect(await isThere(account, asset)).toBe(false);
  });

  it('is complete or missing after a concurrent delete and upload', async () => {
    const { account, call } = await newClient();
    for (let round = 0; round < 10; round += 1) {
      const asset = await uploaded(call);
      await Promise.all([
        call(`/v1/assets/${asset.id}`, { method: 'DELETE' }),
        uploaded(call),
        call(`/v1/assets/${asset.id}`, { method: 'DELETE' }),
        uploaded(call),
      ]);
      const known = (await call(`/v1/assets/${asset.id}`)).status === 200;
      expect(await isThere(account, asset)).toBe(known);
    }
  });
});

describe('the life of an asset', () => {
  it('starts again when it is uploaded or used by a job', async () => {
    answerRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    const { id } = await uploaded(call);
    expect(await expiry(call, id)).toBe(Date.now() + RETENTION_MS);
    clock.pass(MINUTE_MS);
    await uploaded(call);
    expect(await expiry(call, id)).toBe(Date.now() + RETENTION_MS);
    clock.pass(MINUTE_MS);
    const job = await usedBy(call, id);
    expect(await expiry(call, id)).toBe(Date.now() + RETENTION_MS);
    clock.pass(MINUTE_MS);
    await cancel(call, job.id);
    await drained(harnessOf(job.id));
    expect(await expiry(call, id)).toBe(Date.now() + RETENTION_MS);
  });

  it("follows the account's own retention", async () => {
    const clock = frozenClock();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ asset_retention: 3600 });
    const asset = await uploaded(call);
    expect(await expiry(call, asset.id)).toBe(Date.now() + 3_600_000);
    clock.pass(3_600_000);
    await sweep(account);
    expect(await isThere(account, asset)).toBe(false);
  });

  it('ends with a sweep, for expired assets only', async () => {
    const clock = frozenClock();
    const { account, call } = await newClient();
    const old = await uploaded(call, picture(1));
    clock.pass(MINUTE_MS);
    const young = await uploaded(call, picture(2));
    clock.pass(RETENTION_MS - MINUTE_MS - 1);
    await sweep(account);
    expect([await isThere(account, old), await isThere(account, young)]).toEqual([true, true]);
    clock.pass(1);
    await sweep(account);
    expect([await isThere(account, old), await isThere(account, young)]).toEqual([false, true]);
    expect((await call(`/v1/assets/${old.id}`)).status).toBe(404);
    expect((await call(`/v1/assets/${young.id}`)).status).toBe(200);
  });

  it('does not end while an unfinished job uses it', async () => {
    answerRunpod();
    const clock = frozenClock();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ asset_retention: 60 });
    const asset = await uploaded(call);
    const job = await usedBy(call, asset.id, { finish_within: max_finish_within });
    clock.pass(10 * MINUTE_MS);
    await sweep(account);
    expect(await problemOf(await call(`/v1/assets/${asset.id}`, { method: 'DELETE' }))).toMatchObject({
      status: 409,
      code: 'asset_in_use',
    });
    expect(await isThere(account, asset)).toBe(true);
    await cancel(call, job.id);
    await drained(harnessOf(job.id));
    clock.pass(MINUTE_MS);
    await sweep(account);
    expect(await isThere(account, asset)).toBe(false);
  });

  it('leaves a record until the next sweep when R2 fails to delete the file', async () => {
    const clock = frozenClock();
    const { account, call } = await newClient();
    const asset = await uploaded(call);
    clock.pass(RETENTION_MS);
    const broken = vi.spyOn(env.BUCKET, 'delete').mockRejectedValueOnce(new Error('not now'));
    await sweep(account);
    broken.mockRestore();
    expect(await isThere(account, asset)).toBe(true);
    expect((await call(`/v1/assets/${asset.id}`)).status).toBe(404);
    await sweep(account);
    expect(await isThere(account, asset)).toBe(false);
  });
});

describe('a file that came with a job', () => {
  const inline = (file: Uint8Array) => ({ inputs: [{ name: 'a.png', data: file.toBase64() }] });

  it('is deleted with the job', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const { id } = await submitted(call, inline(PNG));
    expect((await storedOf(account)).objects).toBe(1);
    await cancel(call, id);
    expect((await erase(call, id)).status).toBe(204);
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
    expect(assetPageSchema.parse(await (await call('/v1/assets')).json()).data).toEqual([]);
  });

  it('is kept for another job, and deleted with the last', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const [first, second] = [await submitted(call, inline(PNG)), await submitted(call, inline(PNG))];
    for (const [{ id }, objects] of [
      [first, 1],
      [second, 0],
    ] as const) {
      await cancel(call, id);
      await erase(call, id);
      await vi.waitFor(async () => expect((await call(`/v1/jobs/${id}`)).status).toBe(404));
      await vi.waitFor(async () => expect((await storedOf(account)).objects).toBe(objects));
    }
  });

  it('is kept when it was also uploaded as an asset', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await uploaded(call, picture(1));
    const { id } = await submitted(call, {
      inputs: [
        { name: 'a.png', data: picture(1).toBase64() },
        { name: 'b.png', data: picture(2).toBase64() },
      ],
    });
    await uploaded(call, picture(2));
    await cancel(call, id);
    await erase(call, id);
    await vi.waitFor(async () => expect((await storedOf(account)).jobs).toBe(0));
    expect((await storedOf(account)).objects).toBe(2);
  });

  it('is refused at its place in the body when it is too large', async () => {
    const { account, call } = await newClient();
    const body = { workflow: GRAPH, ...inline(pictureOf(60_000, 60_000)) };
    const issue = { pointer: '#/inputs/0/data', code: 'image_too_large' };
    expect(await problemOf(await call('/v1/jobs', postJson(body)))).toMatchObject({ status: 422, errors: [issue] });
    expect(await problemOf(await call('/v1/jobs/dry-run', postJson(body)))).toMatchObject({ errors: [issue] });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is deleted when the job is refused', async () => {
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 0, max_queued: 0 });
    const fetched = vi.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.resolve(new Response(PNG)));
    const inputs = [
      { name: 'a.png', data: picture(1).toBase64() },
      { name: 'b.png', url: 'https://files.example.com/b' },
    ];
    const response = await call('/v1/jobs', postJson({ workflow: GRAPH, inputs }));
    fetched.mockRestore();
    expect(await problemOf(response)).toMatchObject({ status: 429, code: 'queue_full' });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
    expect(assetPageSchema.parse(await (await call('/v1/assets')).json()).data).toEqual([]);
  });
});
