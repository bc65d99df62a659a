/** Reads outputs from R2. Workers write them by presigned URLs. Keys come from the job's record. */

/** The metadata of a stored output. `etag` is quoted and strong. */
export type OutputHead = { size: number; etag: string; modified: Date };

/** Bytes `offset` to `offset + length - 1`. */
export type ByteRange = { offset: number; length: number };

export async function headOutput(bucket: R2Bucket, key: string): Promise<OutputHead | null> {
  const object = await bucket.head(key);
  return object === null ? null : describe(object);
}

/** The content, or a range of it. With `etag`, also returns null when the object was replaced. */
export async function openOutput(
  bucket: R2Bucket,
  key: string,
  requested: { range: ByteRange; etag: string } | null,
): Promise<(OutputHead & { body: ReadableStream }) | null> {
  if (requested === null) {
    const whole = await bucket.get(key);
    return whole === null ? null : { ...describe(whole), body: whole.body };
  }
  const part = await bucket.get(key, { range: requested.range, onlyIf: { etagMatches: unquoted(requested.etag) } });
  return part === null || !('body' in part) ? null : { ...describe(part), body: part.body };
}

const describe = (object: R2Object): OutputHead => ({
  size: object.size,
  etag: object.httpEtag,
  modified: object.uploaded,
});

const unquoted = (etag: string): string => etag.replaceAll('"', '');
