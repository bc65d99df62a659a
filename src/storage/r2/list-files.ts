import { UNKNOWN_TYPE } from '../../contract/media-type.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { assetOfKey, ASSETS_PREFIX, UPLOADS_PREFIX } from './keys.ts';

/** Lists all stored files page by page, to find unreferenced ones. A page has up to 1,000 objects. */

/** Returns a page of assets by account. `cursor`: the start of the next page, undefined after the last. */
export async function assetsPage(
  bucket: R2Bucket,
  cursor: string | undefined,
): Promise<{ byAccount: Map<string, StoredFile[]>; cursor: string | undefined }> {
  const page = await bucket.list({
    prefix: ASSETS_PREFIX,
    include: ['httpMetadata'],
    ...(cursor === undefined ? {} : { cursor }),
  });
  const byAccount = new Map<string, StoredFile[]>();
  for (const object of page.objects) {
    const named = assetOfKey(object.key);
    if (named !== null) {
      const files = byAccount.get(named.account) ?? [];
      files.push({
        sha256: named.sha256,
        size_bytes: object.size,
        content_type: object.httpMetadata?.contentType ?? UNKNOWN_TYPE,
        created_at: object.uploaded.getTime(),
      });
      byAccount.set(named.account, files);
    }
  }
  return { byAccount, cursor: page.truncated ? page.cursor : undefined };
}

/** Deletes the objects of one page of unfinished uploads that are older than `before` (ms). Returns their number. */
export async function clearUploadsPage(
  bucket: R2Bucket,
  cursor: string | undefined,
  before: number,
): Promise<{ deleted: number; cursor: string | undefined }> {
  const page = await bucket.list({ prefix: UPLOADS_PREFIX, ...(cursor === undefined ? {} : { cursor }) });
  const old = page.objects.filter(({ uploaded }) => uploaded.getTime() < before).map(({ key }) => key);
  if (old.length > 0) {
    await bucket.delete(old);
  }
  return { deleted: old.length, cursor: page.truncated ? page.cursor : undefined };
}
