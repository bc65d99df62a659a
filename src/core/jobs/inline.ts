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
