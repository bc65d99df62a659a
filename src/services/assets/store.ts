import type { Asset, StoredFile } from '../../contract/assets.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { storageFull } from './refusals.ts';

/** An asset, and whether this request created it. */
export type AssetAnswer = { asset: Asset; created: boolean };

/** The most attempts to store a file that other requests delete at the same time. */
const MAX_TRIES = 5;

/** A file in R2; `created`: it was not there before. */
export type Put = { asset: StoredFile; created: boolean };

/**
 * Stores a file and records it in the Account object. A file that was being deleted is stored again after the deletion.
 * The sweep finds a file that was stored but not recorded, because the gateway stopped in between.
 * @param put stores the file; when it fails, nothing is recorded
 */
export async function storeAsset(
  context: ServiceContext,
  caller: Caller,
  uploaded: boolean,
  put: () => Promise<Result<Put, Problem>>,
): Promise<Result<AssetAnswer, Problem>> {
  for (let tries = 1; tries <= MAX_TRIES; tries += 1) {
    const stored = await put();
    if (!stored.ok) {
      return stored;
    }
    const { asset, created } = stored.value;
    const recorded = await withRpcRetry(() =>
      context.env.ACCOUNT.getByName(caller.account).recordAsset(caller.account, asset, { uploaded, created }),
    );
    if (recorded === 'full') {
      return fail(storageFull);
    }
    if (recorded !== 'retry') {
      return ok({ asset: recorded, created });
    }
  }
  throw new Error(`The file was deleted ${MAX_TRIES} times while it was being stored.`);
}
