import { UNKNOWN_TYPE } from '../../contract/media-type.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { assetKey } from './keys.ts';

/**
 * Assets in R2: one object per account and content. The key contains the hash, and the object's metadata the detected
 * type.
 */

const WRITE_ONCE: R2Conditional = { etagDoesNotMatch: '*' };

export async function findAsset(bucket: R2Bucket, account: string, sha256: string): Promise<StoredFile | null> {
  const object = await bucket.head(assetKey(account, sha256));
  return object === null ? null : describe(object, sha256);
}

/**
 * Stores content under its hash, which R2 verifies. False when it was already stored. When two requests store the same
 * new file, R2 may reject the later write (one write per second per key), and the file is stored anyway.
 */
export async function putAsset(
  bucket: R2Bucket,
  account: string,
  asset: { sha256: string; content_type: string },
  content: Uint8Array | ReadableStream,
): Promise<{ asset: StoredFile; created: boolean }> {
  const key = assetKey(account, asset.sha256);
  const options = { httpMetadata: { contentType: asset.content_type }, sha256: asset.sha256, onlyIf: WRITE_ONCE };
  let written: R2Object | null;
  try {
    written = await bucket.put(key, content, options);
  } catch (error) {
    const present = await findAsset(bucket, account, asset.sha256);
    if (present === null) {
      throw error;
    }
    return { asset: present, created: false };
  }
  if (written !== null) {
    return { asset: describe(written, asset.sha256), created: true };
  }
  const present = await findAsset(bucket, account, asset.sha256);
  if (present === null) {
    throw new Error('R2 rejected a conditional put, although the object does not exist.');
  }
  return { asset: present, created: false };
}

/** Deletes assets, at most 1,000 at once. Missing ones are ignored. */
export const deleteAssets = (bucket: R2Bucket, account: string, hashes: readonly string[]): Promise<void> =>
  bucket.delete(hashes.map((sha256) => assetKey(account, sha256)));

const describe = (object: R2Object, sha256: string): StoredFile => ({
  sha256,
  size_bytes: object.size,
  content_type: object.httpMetadata?.contentType ?? UNKNOWN_TYPE,
  created_at: object.uploaded.getTime(),
});
