import { assetKey, uploadKey } from '../keys.ts';

/** Assets in R2: one object per account and content. The key holds the hash, the object's metadata the sniffed type. */

/** A stored asset. `created_at` in ms since the epoch. */
export type StoredAsset = { sha256: string; size_bytes: number; content_type: string; created_at: number };

/** Parts of a spooled upload. R2 wants equal parts of at least 5 MiB (reference/cloudflare.md section 5). */
export const SPOOL_PART_BYTES = 8 * 1024 * 1024;

const WRITE_ONCE: R2Conditional = { etagDoesNotMatch: '*' };

export async function findAsset(bucket: R2Bucket, account: string, sha256: string): Promise<StoredAsset | null> {
  const object = await bucket.head(assetKey(account, sha256));
  return object === null ? null : describe(object, sha256);
}

/**
 * Stores content under its hash; R2 checks the hash again. False when it was there already. Two requests with the same new
 * file may meet: R2 then refuses the later write (one write per second to a key), and the file is there all the same.
 */
export async function putAsset(
  bucket: R2Bucket,
  account: string,
  asset: { sha256: string; content_type: string },
  content: Uint8Array | ReadableStream,
): Promise<{ asset: StoredAsset; created: boolean }> {
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
    throw new Error('R2 refused a write-once put of an object it does not have');
  }
  return { asset: present, created: false };
}

/** A large file on its way in, before its hash and so its key is known (docs/decisions/0010). */
export type Spool = {
  /** Adds a part: `SPOOL_PART_BYTES` long, except the last. */
  part(bytes: Uint8Array): Promise<void>;
  /** Closes the file and moves it under its hash. */
  finish(asset: {
    sha256: string;
    content_type: string;
    size_bytes: number;
  }): Promise<{ asset: StoredAsset; created: boolean }>;
  /** Throws away what was sent. */
  discard(): Promise<void>;
};

export async function openSpool(bucket: R2Bucket, account: string, id: string): Promise<Spool> {
  const key = uploadKey(account, id);
  const upload = await bucket.createMultipartUpload(key);
  const parts: R2UploadedPart[] = [];
  return {
    async part(bytes) {
      parts.push(await upload.uploadPart(parts.length + 1, bytes));
    },
    async finish(asset) {
      const known = await findAsset(bucket, account, asset.sha256);
      if (known !== null) {
        await upload.abort();
        return { asset: known, created: false };
      }
      await upload.complete(parts);
      try {
        const spooled = await bucket.get(key);
        if (spooled === null) {
          throw new Error('a completed upload is not in R2');
        }
        // R2 takes a stream only when its length is known.
        return await putAsset(
          bucket,
          account,
          asset,
          spooled.body.pipeThrough(new FixedLengthStream(asset.size_bytes)),
        );
      } finally {
        await bucket.delete(key);
      }
    },
    discard: () => upload.abort(),
  };
}

const describe = (object: R2Object, sha256: string): StoredAsset => ({
  sha256,
  size_bytes: object.size,
  content_type: object.httpMetadata?.contentType ?? 'application/octet-stream',
  created_at: object.uploaded.getTime(),
});
