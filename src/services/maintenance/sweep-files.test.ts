import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import { assetKey, uploadPartKey } from '../../storage/r2/keys.ts';
import { newClient } from '../../testing/gateway.ts';
import { walkFiles } from './sweep-files.ts';

const DAY_MS = 86_400_000;
const hash = (at: number): string => at.toString(16).padStart(64, '0');
/** A file as a gateway left it that told nobody. */
const stray = (account: string, at: number) =>
  env.BUCKET.put(assetKey(account, hash(at)), 'x', { httpMetadata: { contentType: 'image/png' } });

beforeEach(async () => {
  await env.DB.exec('DELETE FROM walks');
  const { objects } = await env.BUCKET.list();
  await env.BUCKET.delete(objects.map(({ key }) => key));
});

describe('the walk over the files', () => {
  it('makes assets known that their account does not know, once', async () => {
    const [one, other] = [await newClient(), await newClient()];
    await stray(one.account, 1);
    await stray(one.account, 2);
    await stray(other.account, 1);
    await env.BUCKET.put('assets/strange', 'x');
    await walkFiles(env, Date.now());
    await walkFiles(env, Date.now());
    const known = await accountStub(env, one.account).listAssets(10, null);
    expect(known.map(({ sha256 }) => sha256).sort()).toEqual([hash(1), hash(2)]);
    expect(known[0]).toMatchObject({ content_type: 'image/png', size_bytes: 1 });
    expect(known.every(({ expires_at }) => expires_at > Date.now())).toBe(true);
    expect(await accountStub(env, other.account).listAssets(10, null)).toHaveLength(1);
  });

  it('leaves what an account knows as it is, and what it is deleting', async () => {
    const { account } = await newClient();
    await stray(account, 1);
    await walkFiles(env, Date.now());
    const before = await accountStub(env, account).asset(hash(1));
    await accountStub(env, account).deleteAsset(hash(1));
    await stray(account, 1);
    await walkFiles(env, Date.now());
    expect(before).not.toBeNull();
    expect(await accountStub(env, account).asset(hash(1))).toBeNull();
  });

  it('goes on where the last run stopped', async () => {
    const { account } = await newClient();
    for (const at of [1, 2, 3]) {
      await stray(account, at);
    }
    const real = env.BUCKET.list.bind(env.BUCKET);
    const short = vi.spyOn(env.BUCKET, 'list').mockImplementation((options) => real({ ...options, limit: 1 }));
    const found: number[] = [];
    for (let run = 0; run < 4; run += 1) {
      await walkFiles(env, Date.now());
      found.push((await accountStub(env, account).listAssets(10, null)).length);
    }
    short.mockRestore();
    expect(found).toEqual([1, 2, 3, 3]);
  });

  it('deletes what is left of uploads that are over, and nothing of those under way', async () => {
    const { account } = await newClient();
    await env.BUCKET.put(uploadPartKey(account, 'spool', 1), 'x');
    await env.BUCKET.put(uploadPartKey(account, 'upload', 1), 'x');
    const left = async () => (await env.BUCKET.list({ prefix: 'uploads/' })).objects.length;
    await walkFiles(env, Date.now() + 7 * DAY_MS);
    expect(await left()).toBe(2);
    await walkFiles(env, Date.now() + 9 * DAY_MS);
    expect(await left()).toBe(0);
  });
});
