/** A result on its way into R2 while it is read from elsewhere: its size and hash become known only at the end. */

/** Held in memory before it is sent on. R2 wants equal parts of at least 5 MiB (reference/cloudflare.md section 5). */
const PART_BYTES = 8 * 1024 * 1024;
/** How much of a file's beginning is kept for whoever wants to know what it is. */
const HEAD_BYTES = 4096;

export type WrittenFile = { key: string; size_bytes: number; sha256: string; content_type: string };

/**
 * Writes one file under `key`, piece by piece, over whatever is there; memory stays at one part. Nothing is visible under the key
 * before `finish`.
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

  /** @param typeOf the media type of a file that begins so and has this size */
  constructor(bucket: R2Bucket, key: string, typeOf: (head: Uint8Array, size: number) => string) {
    this.bucket = bucket;
    this.key = key;
    this.typeOf = typeOf;
    // Asked for only when all went well; without this a discarded one would be an unhandled rejection.
    this.digest.digest.catch(() => {});
  }

  /** Bytes written so far. */
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
    const sha256 = new Uint8Array(await this.digest.digest).toHex();
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

  /** Throws away what was sent, unless the file is finished. */
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
      // Most files are small: the room grows with them instead of being a whole part from the start.
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
