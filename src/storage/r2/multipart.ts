/** Multipart uploads whose parts the worker sends by presigned URL and the gateway opens and closes. */

export async function beginMultipart(bucket: R2Bucket, key: string, contentType: string): Promise<string> {
  const upload = await bucket.createMultipartUpload(key, { httpMetadata: { contentType } });
  return upload.uploadId;
}

/** False when R2 does not know the upload or a part; true also when an earlier call already closed it. */
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
