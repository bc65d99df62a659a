import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { assetKey, uploadPartKey } from '../../storage/r2/keys.ts';
import { newClient } from '../../testing/gateway.ts';
import { sweepFiles } from './sweep-files.ts';

const DAY_MS = 86_400_000;
const hash = (at: number): string => at.toString(16).padStart(64, '0');
/** Stores a file that the Account object has not recorded, as a gateway that stopped too early leaves it. */
const unrecorded = (account: string, at: number) =>
  env.BUCKET.put(assetKey(account, hash(at)), 'x', { httpMetadata: { contentType: 'image/png' } });

beforeEach(async () => {
  await env.DB.exec('DELETE FROM sweep_cursors');
  const { objects } = await env.BUCKET.list();
  await env.BUCKET.delete(objects.map(({ key }) => key));
});

describe('sweeping files', () => {
  it('records assets that their account does not have, once', async () => {
    const [one, other] = [await newClient(), await newClient()];
    await unrecorded(one.account, 1);
    await unrecorded(one.account, 2);
    await unrecorded(other.account, 1);
    await env.BUCKET.put('assets/strange', 'x');
    await sweepFiles(env, Date.now());
    await sweepFiles(env, Date.now());
    const known = await env.ACCOUNT.getByName(one.account).listAssets(10, null);
    expect(known.map(({ sha256 }) => sha256).sort()).toEqual([hash(1), hash(2)]);
    expect(known[0]).toMatchObject({ content_type: 'image/png', size_bytes: 1 });
    expect(known.every(({ expires_at }) => expires_at > Date.now())).toBe(true);
    expect(await env.ACCOUNT.getByName(other.account).listAssets(10, null)).toHaveLength(1);
  });

  it('leaves recorded assets and pending deletions unchanged', async () => {
    const { account } = await newClient();
    await unrecorded(account, 1);
    await sweepFiles(env, Date.now());
    const before = await env.ACCOUNT.getByName(account).asset(hash(1));
    await env.ACCOUNT.getByName(account).deleteAsset(hash(1));
    await unrecorded(account, 1);
    await sweepFiles(env, Date.now());
    expect(before).not.toBeNull();
    expect(await env.ACCOUNT.getByName(account).asset(hash(1))).toBeNull();
  });

  it('continues where the last run stopped', async () => {
    const { account } = await newClient();
    for (const at of [1, 2, 3]) {
      await unrecorded(account, at);
    }
    const real = env.BUCKET.list.bind(env.BUCKET);
    const short = vi.spyOn(env.BUCKET, 'list').mockImplementation((options) => real({ ...options, limit: 1 }));
    const found: number[] = [];
    for (let run = 0; run < 4; run += 1) {
      await sweepFiles(env, Date.now());
      found.push((await env.ACCOUNT.getByName(account).listAssets(10, null)).length);
    }
    short.mockRestore();
    expect(found).toEqual([1, 2, 3, 3]);
  });

  it('deletes parts of ended uploads, but not of uploads in progress', async () => {
    const { account } = await newClient();
    await env.BUCKET.put(uploadPartKey(account, 'spool', 1), 'x');
    await env.BUCKET.put(uploadPartKey(account, 'upload', 1), 'x');
    const left = async () => (await env.BUCKET.list({ prefix: 'uploads/' })).objects.length;
    await sweepFiles(env, Date.now() + 7 * DAY_MS);
    expect(await left()).toBe(2);
    await sweepFiles(env, Date.now() + 9 * DAY_MS);
    expect(await left()).toBe(0);
  });
});
