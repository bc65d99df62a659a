import { AwsClient } from 'aws4fetch';

/** R2's S3 API: where it is and who may sign for it. `endpoint` without the bucket; addressing is path style. */
export type S3 = { endpoint: string; bucket: string; accessKeyId: string; secretAccessKey: string };

/** Longest life of a presigned URL (reference/cloudflare.md section 5). */
const MAX_EXPIRY_S = 604_800;

/** Presigned URLs for one bucket. Lives are in seconds; keys are raw, not percent-encoded. */
export function presigner(s3: S3) {
  const aws = new AwsClient({
    accessKeyId: s3.accessKeyId,
    secretAccessKey: s3.secretAccessKey,
    service: 's3',
    region: 'auto',
  });

  const sign = async (
    method: string,
    key: string,
    life_s: number,
    query: Record<string, string>,
    headers?: Record<string, string>,
  ) => {
    const url = new URL(`${s3.endpoint}/${s3.bucket}/${key.split('/').map(encodeSegment).join('/')}`);
    for (const [name, value] of Object.entries(query)) {
      url.searchParams.set(name, value);
    }
    url.searchParams.set('X-Amz-Expires', String(Math.min(MAX_EXPIRY_S, Math.max(1, Math.ceil(life_s)))));
    const signed = await aws.sign(url.toString(), {
      method,
      ...(headers ? { headers } : {}),
      aws: { signQuery: true, allHeaders: headers !== undefined },
    });
    return signed.url;
  };

  return {
    get: (key: string, life_s: number) => sign('GET', key, life_s, {}),
    /** The caller must send exactly this content type. */
    put: (key: string, life_s: number, contentType: string) =>
      sign('PUT', key, life_s, {}, { 'content-type': contentType }),
    part: (key: string, life_s: number, uploadId: string, number: number) =>
      sign('PUT', key, life_s, { partNumber: String(number), uploadId }),
  };
}

/** RFC 3986 percent-encoding, which SigV4 wants and `encodeURIComponent` misses by five characters. */
const encodeSegment = (segment: string): string =>
  encodeURIComponent(segment).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
