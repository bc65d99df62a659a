import { hex } from '../../lib/hash.ts';

/** Writes a file to R2 while it is read from elsewhere. Its size and hash are known only at the end. */

/**
 * The part size, which is held in memory. R2 requires equal parts of at least 5 MiB (reference/cloudflare.md section
 * 5).
 */
const PART_BYTES = 8 * 1024 * 1024;
/** The number of first bytes kept to detect the type. */
const HEAD_BYTES = 4096;

export type WrittenFile = { key: string; size_bytes: number; sha256: string; content_type: string };

/**
 * Writes one file under `key` piece by piece and replaces an existing one. Holds one part in memory. The file is not
 * visible before `finish`.
 */
export class ResultFile {
  private readonly bucket: R2Bucket;
  readonly key: string;
  private readonly typeOf: (head: Uint8Array, size: number) => string;
  private readonly digest = new crypto.DigestStream('SHA-256');
  private readonly hashing = this.digest.getWriter();
  private upload: R2MultipartUpload | null = null;
  private readonly parts: R2UploadedPart[] = [];
  private part = new Uint8Array(0);
  private filled = 0;
  private head = new Uint8Array(0);
  private size = 0;
  private over = false;

  /** @param typeOf returns the media type of a file by its first bytes and size */
  constructor(bucket: R2Bucket, key: string, typeOf: (head: Uint8Array, size: number) => string) {
    this.bucket = bucket;
    this.key = key;
    this.typeOf = typeOf;
    // The digest is awaited only on success. Without this handler, discarding would cause an unhandled rejection.
    this.digest.digest.catch(() => {});
  }

  /** The number of bytes written so far. */
  get length(): number {
    return this.size;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.hashing.write(bytes);
    if (this.head.length < HEAD_BYTES) {
      this.head = joined(this.head, bytes.subarray(0, HEAD_BYTES - this.head.length));
    }
    this.size += bytes.length;
    let rest = bytes;
    while (this.filled + rest.length > PART_BYTES) {
      const fits = PART_BYTES - this.filled;
      this.hold(rest.subarray(0, fits));
      rest = rest.subarray(fits);
      await this.send();
    }
    this.hold(rest);
  }

  async finish(): Promise<WrittenFile> {
    this.over = true;
    await this.hashing.close();
    const sha256 = hex(await this.digest.digest);
    const content_type = this.typeOf(this.head, this.size);
    if (this.upload === null) {
      const held = this.part.subarray(0, this.filled);
      await this.bucket.put(this.key, held, { httpMetadata: { contentType: content_type }, sha256 });
    } else {
      await this.send();
      await this.upload.complete(this.parts);
    }
    return { key: this.key, size_bytes: this.size, sha256, content_type };
  }

  /** Deletes the parts that were sent, unless the file is finished. */
  async discard(): Promise<void> {
    if (this.over) {
      return;
    }
    this.over = true;
    await this.hashing.abort().catch(() => {});
    await this.upload?.abort();
  }

  private hold(bytes: Uint8Array): void {
    const needed = this.filled + bytes.length;
    if (needed > this.part.length) {
      // Most files are small, so the buffer grows with the file instead of starting at a whole part.
      const room = new Uint8Array(Math.min(PART_BYTES, Math.max(needed, 2 * this.part.length)));
      room.set(this.part.subarray(0, this.filled));
      this.part = room;
    }
    this.part.set(bytes, this.filled);
    this.filled = needed;
  }

  private async send(): Promise<void> {
    const contentType = this.typeOf(this.head, this.size);
    this.upload ??= await this.bucket.createMultipartUpload(this.key, { httpMetadata: { contentType } });
    this.parts.push(await this.upload.uploadPart(this.parts.length + 1, this.part.subarray(0, this.filled)));
    this.filled = 0;
  }
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(left.length + right.length);
  all.set(left);
  all.set(right, left.length);
  return all;
}
