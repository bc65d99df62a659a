import type { Asset } from '../../contract/assets.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import type { Caller, Core } from '../context.ts';
import { readCursor, writeCursor } from '../../lib/cursor.ts';
import { notFound, type CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Lists, reads and deletes the assets of the caller's account. The Account object has their records; R2 is not read.
 */

const ID = /^sha256:([0-9a-f]{64})$/;

export type AssetPage = { assets: Asset[]; next_cursor: string | null };

export async function getAsset(core: Core, caller: Caller, id: string): Promise<Result<Asset, CoreProblem>> {
  const sha256 = ID.exec(id)?.[1];
  const asset =
    sha256 === undefined ? null : await repeatable(() => accountStub(core.env, caller.account).asset(sha256));
  return asset === null ? fail(notFound) : ok(asset);
}

/** Returns a page of assets, newest first. */
export async function listAssets(
  core: Core,
  caller: Caller,
  page: { limit: number; cursor: string | null },
): Promise<Result<AssetPage, CoreProblem>> {
  const before = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && before === null) {
    return fail({ code: 'invalid_cursor', detail: 'the cursor is none that a list has answered with' });
  }
  // One more row than requested shows whether another page exists.
  const found = await repeatable(() => accountStub(core.env, caller.account).listAssets(page.limit + 1, before));
  const assets = found.slice(0, page.limit);
  const last = assets.at(-1);
  return ok({ assets, next_cursor: found.length > page.limit && last !== undefined ? writeCursor(last.place) : null });
}

/** Deletes an asset and its file. Refuses while an unfinished job uses it. */
export async function deleteAsset(core: Core, caller: Caller, id: string): Promise<Result<null, CoreProblem>> {
  const sha256 = ID.exec(id)?.[1];
  if (sha256 === undefined) {
    return fail(notFound);
  }
  switch (await repeatable(() => accountStub(core.env, caller.account).deleteAsset(sha256))) {
    case 'removed':
      return ok(null);
    case 'not_found':
      return fail(notFound);
    case 'in_use':
      return fail({ code: 'asset_in_use', detail: 'a job that is not over reads this file; cancel it or wait' });
  }
}
