import type { Asset, StoredFile } from '../../contract/assets.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { storageFull } from './refusals.ts';

/** An asset, and whether the request that is answered with it made it. */
export type AssetAnswer = { asset: Asset; created: boolean };

/** How often a file may be deleted by others while it is being stored. */
const TRIES = 5;

/** A file as it is in R2 now; `created`: it was not there before. */
export type Put = { asset: StoredFile; created: boolean };

/**
 * Puts a file and has the account note it. A file that was just being deleted is put once more, after the deletion. One that is put
 * and never noted, because the gateway died in between, is found by the sweep.
 * @param put fails where there is nothing to keep, and nothing is noted
 */
export async function keepAsset(
  core: Core,
  caller: Caller,
  uploaded: boolean,
  put: () => Promise<Result<Put, CoreProblem>>,
): Promise<Result<AssetAnswer, CoreProblem>> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const there = await put();
    if (!there.ok) {
      return there;
    }
    const { asset, created } = there.value;
    const kept = await repeatable(() =>
      accountStub(core.env, caller.account).keepAsset(caller.account, asset, { uploaded, created }),
    );
    if (kept === 'full') {
      return fail(storageFull);
    }
    if (kept !== 'again') {
      return ok({ asset: kept, created });
    }
  }
  throw new Error('a file was deleted again and again while it was being stored');
}
