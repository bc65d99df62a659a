import type { Output } from '../../contract/job.ts';
import { MAX_INLINE_TEXT_BYTES } from '../../contract/worker.ts';
import type { JobState } from '../../domain/job/state.ts';
import { outputKey } from '../../storage/r2/keys.ts';
import { missingOutputs } from '../../storage/r2/job-outputs.ts';

/** Whether an output has its own key in R2, or a short text. */
export function isOwnOutput(state: JobState, attempt: number, output: Output): boolean {
  return output.key === null
    ? output.text !== undefined && new TextEncoder().encode(output.text).byteLength <= MAX_INLINE_TEXT_BYTES
    : output.key === outputKey(state.account, state.id, attempt, output.name);
}

/** Names of reported outputs that have another key than their own, or are not in R2 with the reported size. */
export async function findMissing(
  bucket: R2Bucket,
  state: JobState,
  attempt: number,
  outputs: readonly Output[],
): Promise<string[]> {
  const foreign = outputs.filter((output) => !isOwnOutput(state, attempt, output)).map((output) => output.name);
  return foreign.length > 0 ? foreign : missingOutputs(bucket, outputs);
}
