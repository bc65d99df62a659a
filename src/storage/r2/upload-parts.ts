import type { StoredFile } from '../../contract/assets.ts';
import { uploadPartKey, uploadPrefix } from './keys.ts';
import { putAsset } from './assets.ts';

/**
 * Parts of resumable uploads. Each part is an object that a client puts by presigned URL. R2 stores a put completely or
 * not at all, so the list contains exactly the complete parts.
 */

/** Returns the sizes of the stored parts in bytes, by number. One list call returns all parts of an upload. */
export async function listParts(bucket: R2Bucket, account: string, upload: string): Promise<Map<number, number>> {
  const prefix = uploadPrefix(account, upload);
  const { objects } = await bucket.list({ prefix });
  return new Map(objects.map(({ key, size }) => [Number(key.slice(prefix.length)), size]));
}

/** A part was replaced, or was deleted because another request completed the upload. */
export class PartChanged extends Error {}

/** Reads a complete upload as one file, and records which parts it read. */
export class PartsReader {
  /** The ETags of the parts that were read, by number. */
  readonly etags = new Map<number, string>();
  private readonly bucket: R2Bucket;
  private readonly keyOf: (number: number) => string;
  private readonly plan: { size_bytes: number; part_bytes: number };

  constructor(bucket: R2Bucket, account: string, upload: { id: string; size_bytes: number; part_bytes: number }) {
    this.bucket = bucket;
    this.keyOf = (number) => uploadPartKey(account, upload.id, number);
    this.plan = upload;
  }

  /** Reads `length` bytes from `offset`, or fewer at the end of the file. Rejects with `PartChanged`. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const { size_bytes, part_bytes } = this.plan;
    const bytes = new Uint8Array(Math.max(0, Math.min(length, size_bytes - offset)));
    for (let filled = 0; filled < bytes.length;) {
      const at = offset + filled;
      const within = at % part_bytes;
      const wanted = Math.min(bytes.length - filled, part_bytes - within);
      const found = await this.readPart(Math.floor(at / part_bytes) + 1, { offset: within, length: wanted });
      bytes.set(found, filled);
      filled += found.length;
    }
    return bytes;
  }

  private async readPart(number: number, range: { offset: number; length: number }): Promise<Uint8Array> {
    const etag = this.etags.get(number);
    const onlyIf = etag === undefined ? {} : { onlyIf: { etagMatches: etag } };
    const object = await this.bucket.get(this.keyOf(number), { range, ...onlyIf });
    const bytes = object !== null && 'body' in object ? await object.bytes() : null;
    if (object === null || bytes === null || bytes.length === 0) {
      throw new PartChanged(`part ${number}`);
    }
    this.etags.set(number, object.etag);
    return bytes;
  }
}

/** `etags`: the ETags of the parts that were read, which must not have changed. */
type Parts = { count: number; size_bytes: number; etags: ReadonlyMap<number, string> };

/** R2's error for content that does not match the given hash (reference/cloudflare.md section 5). */
const HASH_MISMATCH = /\(10037\)/;

/**
 * Stores all parts in order as one asset. R2 hashes them and stores nothing when the hash differs. `changed`: a part
 * was deleted, because another request completed the upload, or was replaced after it was inspected.
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
    changed = error instanceof PartChanged;
    return writable.abort(error).catch(() => {});
  });
  try {
    // R2 accepts only streams of a known length.
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
  { count, etags }: Parts,
  into: WritableStream<Uint8Array>,
): Promise<void> {
  for (let number = 1; number <= count; number += 1) {
    const etag = etags.get(number);
    const part = await bucket.get(
      uploadPartKey(account, upload, number),
      etag === undefined ? {} : { onlyIf: { etagMatches: etag } },
    );
    if (part === null || !('body' in part)) {
      throw new PartChanged(`part ${number}`);
    }
    await part.body.pipeTo(into, { preventClose: true });
  }
  await into.close();
}

/** Deletes all parts. */
export async function clearParts(bucket: R2Bucket, account: string, upload: string): Promise<void> {
  const { objects } = await bucket.list({ prefix: uploadPrefix(account, upload) });
  if (objects.length > 0) {
    await bucket.delete(objects.map(({ key }) => key));
  }
}
