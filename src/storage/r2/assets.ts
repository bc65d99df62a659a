import { UNKNOWN_TYPE } from '../../contract/media-type.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { assetKey, uploadKey } from '../keys.ts';

/** Assets in R2: one object per account and content. The key holds the hash, the object's metadata the sniffed type. */

/** Parts of a spooled upload. R2 wants equal parts of at least 5 MiB (reference/cloudflare.md section 5). */
export const SPOOL_PART_BYTES = 8 * 1024 * 1024;

const WRITE_ONCE: R2Conditional = { etagDoesNotMatch: '*' };

export async function findAsset(bucket: R2Bucket, account: string, sha256: string): Promise<StoredFile | null> {
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
    throw new Error('R2 refused a write-once put of an object it does not have');
  }
  return { asset: present, created: false };
}

/** Deletes assets; those that are not there are no fault. At most 1,000 at once. */
export const deleteAssets = (bucket: R2Bucket, account: string, hashes: readonly string[]): Promise<void> =>
  bucket.delete(hashes.map((sha256) => assetKey(account, sha256)));

/** A large file on its way in, before its hash and so its key is known (docs/decisions/0010). */
export type Spool = {
  /** Adds a part: `SPOOL_PART_BYTES` long, except the last. */
  part(bytes: Uint8Array): Promise<void>;
  /** Bytes of the file, whose last part has come: as many as there are of `length`. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Puts the file, whose last part has come, under its hash. May be asked again: the spool stays until it is discarded. */
  place(asset: {
    sha256: string;
    content_type: string;
    size_bytes: number;
  }): Promise<{ asset: StoredFile; created: boolean }>;
  /** Throws away what was sent. */
  discard(): Promise<void>;
};

export async function openSpool(bucket: R2Bucket, account: string, id: string): Promise<Spool> {
  const key = uploadKey(account, id);
  const upload = await bucket.createMultipartUpload(key);
  const parts: R2UploadedPart[] = [];
  let completed = false;
  const complete = async (): Promise<void> => {
    if (!completed) {
      await upload.complete(parts);
      completed = true;
    }
  };
  return {
    async part(bytes) {
      parts.push(await upload.uploadPart(parts.length + 1, bytes));
    },
    async read(offset, length) {
      await complete();
      const spooled = await bucket.get(key, { range: { offset, length } });
      if (spooled === null) {
        throw new Error('a completed upload is not in R2');
      }
      return spooled.bytes();
    },
    async place(asset) {
      const known = await findAsset(bucket, account, asset.sha256);
      if (known !== null) {
        return { asset: known, created: false };
      }
      await complete();
      const spooled = await bucket.get(key);
      if (spooled === null) {
        throw new Error('a completed upload is not in R2');
      }
      // R2 takes a stream only when its length is known.
      return putAsset(bucket, account, asset, spooled.body.pipeThrough(new FixedLengthStream(asset.size_bytes)));
    },
    discard: () => (completed ? bucket.delete(key) : upload.abort()),
  };
}

const describe = (object: R2Object, sha256: string): StoredFile => ({
  sha256,
  size_bytes: object.size,
  content_type: object.httpMetadata?.contentType ?? UNKNOWN_TYPE,
  created_at: object.uploaded.getTime(),
});
