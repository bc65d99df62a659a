import type { StoredFile } from '../../contract/assets.ts';
import { uploadPartKey, uploadPrefix } from './keys.ts';
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

/** A part is gone, since another request finished the upload meanwhile, or is not the one any more that was read. */
export class PartChanged extends Error {}

/** Reads an upload whose parts are all there as one file, and remembers which parts it read. */
export class PartsReader {
  /** ETags of the parts that were read, by number. */
  readonly etags = new Map<number, string>();
  private readonly bucket: R2Bucket;
  private readonly keyOf: (number: number) => string;
  private readonly plan: { size_bytes: number; part_bytes: number };

  constructor(bucket: R2Bucket, account: string, upload: { id: string; size_bytes: number; part_bytes: number }) {
    this.bucket = bucket;
    this.keyOf = (number) => uploadPartKey(account, upload.id, number);
    this.plan = upload;
  }

  /** `length` bytes from `offset`, or as many as the file has. Rejects with `PartChanged`. */
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

/** `etags`: of the parts that were read, which must be those still. */
type Parts = { count: number; size_bytes: number; etags: ReadonlyMap<number, string> };

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
    changed = error instanceof PartChanged;
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

/** Deletes every part there is. */
export async function clearParts(bucket: R2Bucket, account: string, upload: string): Promise<void> {
  const { objects } = await bucket.list({ prefix: uploadPrefix(account, upload) });
  if (objects.length > 0) {
    await bucket.delete(objects.map(({ key }) => key));
  }
}
