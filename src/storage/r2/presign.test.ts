import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { presigner } from './presign.ts';

const S3 = {
  endpoint: 'https://account.r2.test',
  bucket: 'bucket',
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const NOW = Date.UTC(2013, 4, 24);
const sign = presigner(S3);

function freezeTime(): void {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW });
  onTestFinished(() => {
    vi.useRealTimers();
  });
}

const encoder = new TextEncoder();
const hmac = async (key: Uint8Array, text: string): Promise<Uint8Array> =>
  new Uint8Array(
    await crypto.subtle.sign(
      'HMAC',
      await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']),
      encoder.encode(text),
    ),
  );
const sha256 = async (text: string): Promise<string> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(text))).toHex();
const rfc3986 = (text: string): string =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/**
 * What a server computes for a presigned request (AWS Signature Version 4, query parameters), from the request as it
 * arrives. Written from the specification, so that the signer is not checked against itself.
 */
async function expectedSignature(method: string, text: string, headers: Record<string, string>): Promise<string> {
  const url = new URL(text);
  const [, date = '', region = '', service = ''] = (url.searchParams.get('X-Amz-Credential') ?? '').split('/');
  const query = [...url.searchParams]
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]) => `${rfc3986(name)}=${rfc3986(value)}`)
    .sort()
    .join('&');
  const path = url.pathname
    .split('/')
    .map((part) => rfc3986(decodeURIComponent(part)))
    .join('/');
  const sent: Record<string, string> = { host: url.host, ...headers };
  const names = (url.searchParams.get('X-Amz-SignedHeaders') ?? '').split(';');
  const canonical = [
    method,
    path,
    query,
    ...names.map((name) => `${name}:${sent[name] ?? ''}`),
    '',
    names.join(';'),
    'UNSIGNED-PAYLOAD',
  ].join('\n');
  const scope = `${date}/${region}/${service}/aws4_request`;
  const stringToSign = ['AWS4-HMAC-SHA256', url.searchParams.get('X-Amz-Date'), scope, await sha256(canonical)].join(
    '\n',
  );
  let key = encoder.encode(`AWS4${S3.secretAccessKey}`);
  for (const part of [date, region, service, 'aws4_request']) {
    key = await hmac(key, part);
  }
  return (await hmac(key, stringToSign)).toHex();
}

const signatureOf = (url: string): string | null => new URL(url).searchParams.get('X-Amz-Signature');

it('expectedSignature returns the published signature of the example of AWS', async () => {
  // "Authenticating Requests: Using Query Parameters", Amazon S3 API reference.
  const url =
    'https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256' +
    '&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request' +
    '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host';
  expect(await expectedSignature('GET', url, {})).toBe(
    'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  );
});

describe('a presigned URL', () => {
  it('derives the signing key of a day once for all signers', async () => {
    const own = { ...S3, secretAccessKey: 'a secret that no other test derives keys from' };
    await presigner(own).get('a', 60);
    const imported = vi.spyOn(crypto.subtle, 'importKey');
    await presigner(own).get('b', 60);
    // Only the final signature imports a key; deriving the signing key would import four more.
    expect(imported).toHaveBeenCalledTimes(1);
    imported.mockRestore();
  });

  it('signs the bucket, the key, the expiry and only the host for a read', async () => {
    freezeTime();
    const url = new URL(await sign.get('assets/acc/0f', 60));
    expect(url.origin + url.pathname).toBe('https://account.r2.test/bucket/assets/acc/0f');
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      'X-Amz-Credential': 'AKIAIOSFODNN7EXAMPLE/20130524/auto/s3/aws4_request',
      'X-Amz-Date': '20130524T000000Z',
      'X-Amz-Expires': '60',
      'X-Amz-SignedHeaders': 'host',
    });
    expect(signatureOf(url.href)).toBe(await expectedSignature('GET', url.href, {}));
    expect(url.href).not.toContain(S3.secretAccessKey);
  });

  it.each([
    'plain.png',
    'a b.png',
    "it's (1)!*.png",
    'a+b&c=d?e#f;g:@,$.png',
    '100%.png',
    '%2F.png',
    '~7E.png',
    'é漢😀.png',
    'dir/sub/x.png',
  ])('has a correct signature for the key %j', async (key) => {
    freezeTime();
    const [get, put] = await Promise.all([sign.get(key, 60), sign.put(key, 60, 'image/png')]);
    const encoded = key.split('/').map(rfc3986).join('/');
    expect(new URL(get).pathname).toBe(`/bucket/${encoded}`);
    expect(signatureOf(get)).toBe(await expectedSignature('GET', get, {}));
    expect(signatureOf(put)).toBe(await expectedSignature('PUT', put, { 'content-type': 'image/png' }));
  });

  it('is bound to the content type for a write', async () => {
    freezeTime();
    const type = 'text/plain; charset=utf-8';
    const url = await sign.put('k', 60, type);
    expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toBe('content-type;host');
    expect(signatureOf(url)).toBe(await expectedSignature('PUT', url, { 'content-type': type }));
    expect(signatureOf(url)).not.toBe(await expectedSignature('PUT', url, { 'content-type': 'text/html' }));
  });

  it('is bound to the upload and the part number for a part', async () => {
    freezeTime();
    const url = await sign.part('k', 60, 'up+lo/ad=&id', 7);
    expect(Object.fromEntries(new URL(url).searchParams)).toMatchObject({ uploadId: 'up+lo/ad=&id', partNumber: '7' });
    expect(signatureOf(url)).toBe(await expectedSignature('PUT', url, {}));
  });

  it.each([
    [-5, '1'],
    [0, '1'],
    [0.2, '1'],
    [59.1, '60'],
    [1e9, '604800'],
  ])('limits its expiry to the range of R2: %d s', async (life, seconds) => {
    expect(new URL(await sign.get('k', life)).searchParams.get('X-Amz-Expires')).toBe(seconds);
  });
});
