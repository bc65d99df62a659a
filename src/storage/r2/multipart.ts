/** Multipart uploads: the gateway starts and completes them, and the worker sends the parts by presigned URLs. */

export async function beginMultipart(bucket: R2Bucket, key: string, contentType: string): Promise<string> {
  const upload = await bucket.createMultipartUpload(key, { httpMetadata: { contentType } });
  return upload.uploadId;
}

/**
 * Completes an upload. False when R2 does not know the upload or a part; true also when an earlier call completed it.
 */
export async function finishMultipart(
  bucket: R2Bucket,
  key: string,
  uploadId: string,
  parts: readonly { number: number; etag: string }[],
): Promise<boolean> {
  try {
    const named = parts.map(({ number, etag }) => ({ partNumber: number, etag: etag.replaceAll('"', '') }));
    await bucket.resumeMultipartUpload(key, uploadId).complete(named);
    return true;
  } catch {
    return (await bucket.head(key)) !== null;
  }
}
