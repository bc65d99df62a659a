import type { StoredFile } from '../../contract/assets.ts';
import { uploadPartKey, uploadPrefix } from '../keys.ts';
import { putAsset } from './assets.ts';

/**
 * Parts of resumable uploads: objects of their own, which clients put by presigned URL. R2 stores such a put whole or not at all, so
 * what is listed is exactly what has arrived.
 */

/** Sizes in bytes of the parts that are there, by number. An upload has at most as many as one list holds. */
export async function listParts(bucket: R2Bucket, account: string, upload: string): Promise<Map<number, number>> {
  const prefix = uploadPrefix(account, upload);
  const { objects } = await bucket.list({ prefix });
  return new Map(objects.map(({ key, size }) => [Number(key.slice(prefix.length)), size]));
}

/** The first bytes of the first part, at most `length`, and the part's ETag; null when it is not there. */
export async function readHead(
  bucket: R2Bucket,
  account: string,
  upload: string,
  length: number,
): Promise<{ bytes: Uint8Array; etag: string } | null> {
  const object = await bucket.get(uploadPartKey(account, upload, 1), { range: { offset: 0, length } });
  return object === null ? null : { bytes: await object.bytes(), etag: object.etag };
}

/** `head`: ETag of the first part. */
type Parts = { count: number; size_bytes: number; head: string };

/** The parts are not those any more that were found. */
class Changed extends Error {}

/** What R2 says of content whose hash is another than the one given (reference/cloudflare.md section 5). */
const HASH_MISMATCH = /\(10037\)/;

/**
 * Stores all parts, one behind the other, as an asset; R2 hashes them on the way and stores nothing if the hash is another. `changed`: a
 * part is gone, since another request finished the upload meanwhile, or the first is not the one with `head` any more, which was looked at.
 */
export async function putJoined(
  bucket: R2Bucket,
  account: string,
  upload: string,
  parts: Parts,
  asset: { sha256: string; content_type: string },
): Promise<{ asset: StoredFile; created: boolean } | 'mismatch' | 'changed'> {
  const { readable, writable } = new FixedLengthStream(parts.size_bytes);
  let changed = false;
  void feed(bucket, account, upload, parts, writable).catch((error: unknown) => {
    changed = error instanceof Changed;
    return writable.abort(error).catch(() => {});
  });
  try {
    // A stream of a known length, without which R2 takes none.
    return await putAsset(bucket, account, asset, readable);
  } catch (error) {
    if (changed) {
      return 'changed';
    }
    if (error instanceof Error && HASH_MISMATCH.test(error.message)) {
      return 'mismatch';
    }
    throw error;
  }
}

async function feed(
  bucket: R2Bucket,
  account: string,
  upload: string,
  { count, head }: Parts,
  into: WritableStream<Uint8Array>,
): Promise<void> {
  for (let number = 1; number <= count; number += 1) {
    const part = await bucket.get(
      uploadPartKey(account, upload, number),
      number === 1 ? { onlyIf: { etagMatches: head } } : {},
    );
    if (part === null || !('body' in part)) {
      throw new Changed(`part ${number}`);
    }
    await part.body.pipeTo(into, { preventClose: true });
  }
  await into.close();
}

/** Deletes every part there is. */
export async function clearParts(bucket: R2Bucket, account: string, upload: string): Promise<void> {
  const { objects } = await bucket.list({ prefix: uploadPrefix(account, upload) });
  if (objects.length > 0) {
    await bucket.delete(objects.map(({ key }) => key));
  }
}
