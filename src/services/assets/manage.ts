import type { Asset } from '../../contract/assets.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { paginate, type Page, type PageRequest } from '../paginate.ts';

/**
 * Lists, reads and deletes the assets of the caller's account. The Account object has their records; R2 is not read.
 */

const ID = /^sha256:([0-9a-f]{64})$/;

export async function getAsset(context: ServiceContext, caller: Caller, id: string): Promise<Result<Asset, Problem>> {
  const sha256 = ID.exec(id)?.[1];
  const asset =
    sha256 === undefined ? null : await withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).asset(sha256));
  return asset === null ? fail(notFound) : ok(asset);
}

/** Returns a page of assets, newest first. */
export const listAssets = (
  context: ServiceContext,
  caller: Caller,
  page: PageRequest,
): Promise<Result<Page<Asset>, Problem>> =>
  paginate(
    page,
    ({ limit, after }) => withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).listAssets(limit, after)),
    ({ position }) => position,
  );

/** Deletes an asset and its file. Refuses while an unfinished job uses it. */
export async function deleteAsset(context: ServiceContext, caller: Caller, id: string): Promise<Result<null, Problem>> {
  const sha256 = ID.exec(id)?.[1];
  if (sha256 === undefined) {
    return fail(notFound);
  }
  switch (await withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).deleteAsset(sha256))) {
    case 'removed':
      return ok(null);
    case 'not_found':
      return fail(notFound);
    case 'in_use':
      return fail({
        code: 'asset_in_use',
        detail: 'An unfinished job uses the asset. Cancel the job, or wait until it has finished.',
      });
  }
}
