import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { AwsClient } from 'aws4fetch';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { startLoneGateway, type LoneGateway } from '../lone/gateway.ts';

/** Requests that end, one way or the other, while the client still writes. */

/** Far more than what the sockets between client and gateway hold by themselves. */
const BODY = Buffer.alloc(12_000_000, 0x20);
const MAX_BODY_BYTES = 1_000_000;
/** How often each is sent: a connection that is reset too early is reset now and then. */
const TIMES = 4;

let gateway: LoneGateway;
beforeAll(async () => {
  gateway = await startLoneGateway({ max_body_bytes: MAX_BODY_BYTES });
});
afterAll(() => gateway.stop());

const problemSchema = z.object({ status: z.int(), code: z.string() });

/** Sends the whole body before it reads, as most clients do. `chunked`: without saying how long it is. */
function post(
  path: string,
  headers: Record<string, string>,
  chunked: boolean,
): Promise<{ status: number; code: string }> {
  return new Promise((resolve, reject) => {
    const framing = chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(BODY.length) };
    const sending = request(
      `${gateway.url}${path}`,
      { method: 'POST', headers: { ...headers, ...framing }, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => (text += piece));
        response.on('error', reject);
        response.on('end', () => resolve(problemSchema.parse(JSON.parse(text))));
      },
    );
    sending.on('error', reject);
    sending.end(BODY);
  });
}

const JSON_TYPE = { 'content-type': 'application/json' };
const FILE_TYPE = { 'content-type': 'application/octet-stream' };
const FORM_TYPE = { 'content-type': 'multipart/form-data; boundary=b' };
const WORKER_CALL = '/worker/jobs/01890000-0000-7000-8000-000000000000/claim';

describe.each([
  ['with its length', false],
  ['in chunks', true],
])('a large body sent %s', (_framing, chunked) => {
  it.each([
    ['no key', '/v1/jobs', JSON_TYPE, false, 401, 'unauthorized'],
    ['a wrong content type', '/v1/jobs', FILE_TYPE, true, 415, 'unsupported_media_type'],
    ['more than a job may have', '/v1/jobs', JSON_TYPE, true, 413, 'body_too_large'],
    ['more than a batch may have', '/v1/jobs/batch', JSON_TYPE, true, 413, 'body_too_large'],
    ['more than a webhook may have', '/v1/webhooks', JSON_TYPE, true, 413, 'body_too_large'],
    ['more than a secret has', '/v1/keys/revoke', JSON_TYPE, false, 413, 'body_too_large'],
    ['no form', '/v1/assets', FORM_TYPE, true, 400, 'invalid_multipart'],
    ['no file of any kind', '/v1/assets', FILE_TYPE, true, 422, 'unsupported_media'],
    ['no route', '/v1/nowhere', JSON_TYPE, true, 404, 'not_found'],
    ['no token of a job', WORKER_CALL, JSON_TYPE, false, 401, 'invalid_token'],
  ])('is answered with its refusal for %s', async (_what, path, type, withKey, status, code) => {
    const headers = withKey ? { ...type, authorization: `Bearer ${gateway.key}` } : type;
    for (let time = 0; time < TIMES; time += 1) {
      expect(await post(path, headers, chunked)).toEqual({ status, code });
    }
  });
});

describe('a client that disconnects during an upload', () => {
  it('leaves nothing in storage', async () => {
    const file = randomBytes(9_000_000);
    Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex').copy(file);
    const headers = { authorization: `Bearer ${gateway.key}`, 'transfer-encoding': 'chunked' };
    const sending = request(`${gateway.url}/v1/assets`, { method: 'POST', headers, agent: false });
    const closed = new Promise((resolve) => void sending.on('error', resolve).on('close', resolve));
    sending.write(file);
    await vi.waitFor(async () => expect(await spooled()).toHaveLength(1), WAIT);
    sending.destroy();
    await closed;
    await vi.waitFor(async () => expect(await spooled()).toEqual([]), WAIT);
  });
});

/** How often R2 is asked, and for how long at most; in ms. */
const WAIT = { interval: 50, timeout: 30_000 };

/** What R2 has of files that are on their way in. */
async function spooled(): Promise<string[]> {
  const s3 = new AwsClient({ accessKeyId: 'local', secretAccessKey: 'local-secret', service: 's3', region: 'auto' });
  const bucket = `${gateway.url}/cdn-cgi/local/r2/s3/comfy-edge`;
  const answer = await (await s3.fetch(`${bucket}?list-type=2&prefix=uploads/`)).text();
  return [...answer.matchAll(/<Key>(.*?)<\/Key>/g)].flatMap(([, name]) => name ?? []);
}
