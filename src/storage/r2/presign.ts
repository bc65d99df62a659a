import { AwsClient } from 'aws4fetch';
import { iso } from '../../lib/time.ts';

/** The address and credentials of R2's S3 API. `endpoint` does not include the bucket; addressing is path style. */
export type S3 = { endpoint: string; bucket: string; accessKeyId: string; secretAccessKey: string };

/** The longest lifetime of a presigned URL (reference/cloudflare.md section 5). */
const MAX_EXPIRY_S = 604_800;

/** The signing keys of the day, derived once per isolate instead of for each set of URLs (four HMACs each). */
const derivedKeys = new Map<string, ArrayBuffer>();

/**
 * Presigned URLs for one bucket. Expiry times are in seconds; keys are raw, not percent-encoded. `aws4fetch` signs.
 * This module defines the headers that a URL fixes, and how a key is encoded. `@aws-sdk/s3-request-presigner` does the
 * same with the SDK's client in the bundle.
 */
export function presigner(s3: S3) {
  const aws = new AwsClient({
    accessKeyId: s3.accessKeyId,
    secretAccessKey: s3.secretAccessKey,
    service: 's3',
    region: 'auto',
    cache: derivedKeys,
  });

  const sign = async (
    method: string,
    key: string,
    life_s: number,
    query: Record<string, string>,
    { headers, at }: { headers?: Record<string, string>; at?: number } = {},
  ) => {
    const url = new URL(`${s3.endpoint}/${s3.bucket}/${key.split('/').map(encodeSegment).join('/')}`);
    for (const [name, value] of Object.entries(query)) {
      url.searchParams.set(name, value);
    }
    url.searchParams.set('X-Amz-Expires', String(Math.min(MAX_EXPIRY_S, Math.max(1, Math.ceil(life_s)))));
    const signed = await aws.sign(url.toString(), {
      method,
      ...(headers ? { headers } : {}),
      aws: {
        signQuery: true,
        allHeaders: headers !== undefined,
        ...(at === undefined ? {} : { datetime: amzDate(at) }),
      },
    });
    return signed.url;
  };

  return {
    get: (key: string, life_s: number) => sign('GET', key, life_s, {}),
    /**
     * A link for a person or a browser, valid for `life_s` from `at` (ms). The same arguments give the same link. The
     * signature covers the type and name of the response.
     */
    download: (key: string, life_s: number, at: number, answered: { type: string; disposition: string }) =>
      sign(
        'GET',
        key,
        life_s,
        { 'response-content-type': answered.type, 'response-content-disposition': answered.disposition },
        { at },
      ),
    /** The caller must send exactly this content type. */
    put: (key: string, life_s: number, contentType: string) =>
      sign('PUT', key, life_s, {}, { headers: { 'content-type': contentType } }),
    /** The caller must send exactly `size_bytes` bytes. */
    putExactly: (key: string, life_s: number, size_bytes: number) =>
      sign('PUT', key, life_s, {}, { headers: { 'content-length': String(size_bytes) } }),
    part: (key: string, life_s: number, uploadId: string, number: number) =>
      sign('PUT', key, life_s, { partNumber: String(number), uploadId }),
  };
}

/** `20261121T053000Z`. */
const amzDate = (at: number): string => iso(at).replaceAll(/[:-]|\.\d{3}/g, '');

/** RFC 3986 percent-encoding as SigV4 requires it. `encodeURIComponent` leaves out five characters. */
const encodeSegment = (segment: string): string =>
  encodeURIComponent(segment).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
