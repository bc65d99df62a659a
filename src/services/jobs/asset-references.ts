import type { Admission } from '../../contract/admission.ts';
import type { InputUse } from '../../contract/assets.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { invalidRequest, type Problem, type Issue } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { unknownAsset, type ResolvedInputs } from './inputs.ts';

/**
 * The assets that a job uses, each once. Outputs of other jobs are not assets of the account; they belong to their job.
 */
export function referencesOf({ inputs, inline }: ResolvedInputs): InputUse[] {
  const attached = new Set(inline.map(({ sha256 }) => sha256));
  const uses = new Map<string, InputUse>();
  for (const { sha256, size_bytes, content_type, key } of inputs) {
    if (key === undefined) {
      uses.set(sha256, { sha256, size_bytes, content_type, attached: attached.has(sha256) });
    }
  }
  return [...uses.values()];
}

/** The problem of a job whose assets were deleted while it was being checked. */
export function missingAssetProblem({ assets }: Admission & { kind: 'missing' }, { named }: ResolvedInputs): Problem {
  const issues = assets.map((sha256): Issue => {
    const at = named.get(sha256);
    // The request does not name a fetched file by its hash.
    const detail = 'The file was deleted during the request. Send the request again.';
    return at === undefined ? { pointer: '#/inputs', code: 'input_fetch_failed', detail } : unknownAsset(at);
  });
  const [first, ...rest] = issues;
  if (first === undefined) {
    throw new Error('Missing assets were reported without a hash.');
  }
  return invalidRequest([first, ...rest]);
}

/** Releases files that were fetched for a request that failed, unless something else uses them. */
export async function releaseAssets(context: ServiceContext, caller: Caller, hashes: readonly string[]): Promise<void> {
  if (hashes.length > 0) {
    await withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).deleteOrphans(hashes)).catch(() => {});
  }
}
