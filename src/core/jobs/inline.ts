import type { JobInput } from '../../contract/new-job.ts';
import { findAsset, putAsset } from '../../storage/r2/assets.ts';
import { decodeBase64 } from '../assets/base64.ts';
import type { Caller, Core } from '../context.ts';

/** Content that came in the body. Kept as text until it is stored, so that only one file is in memory twice at a time. */
export type InlineInput = { data: string; sha256: string; content_type: string };

/** Stores what came inline, one file after another. Content that is there already is not written again. */
export async function storeInline(core: Core, caller: Caller, inline: readonly InlineInput[]): Promise<void> {
  for (const { data, sha256, content_type } of inline) {
    if ((await findAsset(core.env.BUCKET, caller.account, sha256)) !== null) {
      continue;
    }
    const bytes = decodeBase64(data);
    if (bytes === null) {
      throw new Error('an input that was decoded once can no longer be decoded');
    }
    await putAsset(core.env.BUCKET, caller.account, { sha256, content_type }, bytes);
  }
}

/** An input whose content is still to be stored, under the hash of its bytes. `data`: the same in base64. */
export async function inlineInput(
  name: string,
  bytes: Uint8Array,
  data: string,
  content_type: string,
): Promise<{ input: JobInput; inline: InlineInput }> {
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
  return { input: { name, sha256, size_bytes: bytes.length, content_type }, inline: { data, sha256, content_type } };
}
