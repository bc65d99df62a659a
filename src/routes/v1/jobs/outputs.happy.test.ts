import { beforeAll, describe, expect, it } from 'vitest';
import { newClient, ORIGIN, PNG, submitted, type Call } from '../../../testing/gateway.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema, type ApiJob } from '../schemas.ts';

const DIGITS = new TextEncoder().encode('0123456789');
const TEXT = new TextEncoder().encode('grüße');
const NAMES = ['t_00001_.png', 'clip/v 1.mp4', '100%/ü#?&.bin', 'page.html', 'drawing.svg'];

/** One finished job for all tests here: reading changes nothing. */
let call: Call;
let job: ApiJob;

beforeAll(async () => {
  const client = await newClient();
  call = client.call;
  const { id } = await submitted(call);
  await runAsWorker(client.account, id, [
    { name: 't_00001_.png', content_type: 'image/png', bytes: PNG },
    { name: 'clip/v 1.mp4', content_type: 'video/mp4', bytes: DIGITS },
    { name: '100%/ü#?&.bin', content_type: 'no type at all', bytes: DIGITS },
    { name: 'page.html', content_type: 'text/html', bytes: DIGITS },
    { name: 'drawing.svg', content_type: 'image/svg+xml', bytes: DIGITS },
    { name: 'empty.bin', content_type: 'application/octet-stream', bytes: new Uint8Array() },
    { name: '2.txt', content_type: 'text/plain; charset=utf-8', bytes: TEXT },
  ]);
  job = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
});

const urlOf = (name: string): string => job.outputs.find((output) => output.name === name)?.url ?? '';
const read = (name: string, headers: Record<string, string> = {}, method = 'GET') =>
  call(urlOf(name), { method, headers });
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer());

describe('an output', () => {
  it('is listed in the job with its link', () => {
    expect(job.status).toBe('succeeded');
    expect(urlOf('t_00001_.png')).toBe(`${ORIGIN}/v1/jobs/${job.id}/outputs/t_00001_.png`);
    expect(urlOf('100%/ü#?&.bin')).toBe(`${ORIGIN}/v1/jobs/${job.id}/outputs/100%25/%C3%BC%23%3F%26.bin`);
  });

  it('has the headers for caching and resuming', async () => {
    const response = await read('t_00001_.png');
    expect(response.status).toBe(200);
    expect(await bytesOf(response)).toEqual(PNG);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(PNG.length),
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      'content-disposition': `inline; filename="t_00001_.png"; filename*=UTF-8''t_00001_.png`,
    });
    expect(response.headers.get('etag')).toMatch(/^"[^"]+"$/);
  });

  it.each(NAMES)('is found by the URL in the job: %s', async (name) => {
    expect((await read(name)).status).toBe(200);
  });

  it('is found with encoded and with plain slashes', async () => {
    for (const path of ['clip/v%201.mp4', 'clip%2Fv%201.mp4']) {
      expect(await bytesOf(await call(`/v1/jobs/${job.id}/outputs/${path}`))).toEqual(DIGITS);
    }
  });

  it('answers HEAD with the headers of GET and no body', async () => {
    for (const name of ['clip/v 1.mp4', '2.txt']) {
      const [get, head] = await Promise.all([read(name), read(name, {}, 'HEAD')]);
      expect(head.status).toBe(200);
      expect(await bytesOf(head)).toHaveLength(0);
      expect(await bytesOf(get)).not.toHaveLength(0);
      const stable = (response: Response) => [...response.headers].filter(([header]) => header !== 'x-request-id');
      expect(stable(head)).toEqual(stable(get));
    }
  });

  it('answers HEAD for the whole file, ignoring ranges', async () => {
    const head = await read('clip/v 1.mp4', { range: 'bytes=0-0' }, 'HEAD');
    expect(head.status).toBe(200);
    expect(head.headers.get('content-length')).toBe('10');
  });

  it('comes from the job itself when it is a short text', async () => {
    const response = await read('2.txt');
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await bytesOf(response)).toEqual(TEXT);
    expect(job.outputs.find((output) => output.name === '2.txt')?.text).toBe('grüße');
  });
});

describe('a range', () => {
  it.each([
    ['bytes=0-0', '0', 'bytes 0-0/10'],
    ['bytes=2-4', '234', 'bytes 2-4/10'],
    ['bytes=7-', '789', 'bytes 7-9/10'],
    ['bytes=-3', '789', 'bytes 7-9/10'],
    ['bytes=-99', '0123456789', 'bytes 0-9/10'],
    ['bytes=8-99', '89', 'bytes 8-9/10'],
    ['BYTES= 1-2', '12', 'bytes 1-2/10'],
  ])('%s returns "%s"', async (range, text, contentRange) => {
    const response = await read('clip/v 1.mp4', { range });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(contentRange);
    expect(response.headers.get('content-length')).toBe(String(text.length));
    expect(await response.text()).toBe(text);
  });

  it('counts bytes, not characters, of an inline text', async () => {
    const response = await read('2.txt', { range: 'bytes=2-3' });
    expect(response.status).toBe(206);
    expect(await response.text()).toBe('ü');
  });

  it.each(['bytes=0-1,4-5', 'items=0-1'])('is ignored when it is not a single byte range: %s', async (range) => {
    const response = await read('clip/v 1.mp4', { range });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('0123456789');
  });

  it('applies only to the version in If-Range', async () => {
    const etag = (await read('clip/v 1.mp4', {}, 'HEAD')).headers.get('etag') ?? '';
    const modified = (await read('clip/v 1.mp4', {}, 'HEAD')).headers.get('last-modified') ?? '';
    const statusFor = async (condition: string) =>
      (await read('clip/v 1.mp4', { range: 'bytes=0-1', 'if-range': condition })).status;
    expect(await statusFor(etag)).toBe(206);
    expect(await statusFor(modified)).toBe(206);
    expect(await statusFor('"another"')).toBe(200);
    expect(await statusFor(`W/${etag}`)).toBe(200);
    expect(await statusFor('Thu, 01 Jan 1970 00:00:00 GMT')).toBe(200);
  });
});

describe('a condition', () => {
  it('answers 304 without a body to a client with this version', async () => {
    for (const name of ['clip/v 1.mp4', '2.txt']) {
      const head = await read(name, {}, 'HEAD');
      const etag = head.headers.get('etag') ?? '';
      for (const condition of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
        const response = await read(name, { 'if-none-match': condition });
        expect(response.status).toBe(304);
        expect(response.headers.get('etag')).toBe(etag);
        expect(await bytesOf(response)).toHaveLength(0);
      }
      expect((await read(name, { 'if-none-match': '"x"' })).status).toBe(200);
      expect((await read(name, { 'if-modified-since': head.headers.get('last-modified') ?? '' })).status).toBe(304);
      expect((await read(name, { 'if-match': etag })).status).toBe(200);
    }
  });

  it('is evaluated before the range', async () => {
    const etag = (await read('clip/v 1.mp4', {}, 'HEAD')).headers.get('etag') ?? '';
    expect((await read('clip/v 1.mp4', { range: 'bytes=99-', 'if-none-match': etag })).status).toBe(304);
  });
});

describe('a browser that opens an output', () => {
  it.each(['page.html', 'drawing.svg', '100%/ü#?&.bin'])('runs no script in it: %s', async (name) => {
    const { headers } = await read(name);
    expect(headers.get('content-security-policy')).toContain('sandbox');
    expect(headers.get('content-disposition')).toMatch(/^attachment;/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
  });

  it("sees a worker's malformed type as plain bytes, and the name as it is", async () => {
    const { headers } = await read('100%/ü#?&.bin');
    expect(headers.get('content-type')).toBe('application/octet-stream');
    expect(headers.get('content-disposition')).toBe(
      `attachment; filename="_#?&.bin"; filename*=UTF-8''%C3%BC%23%3F%26.bin`,
    );
  });
});

describe('an empty output', () => {
  it('can be read, and refuses ranges', async () => {
    const whole = await read('empty.bin');
    expect(whole.status).toBe(200);
    expect(await bytesOf(whole)).toHaveLength(0);
    expect((await read('empty.bin', { range: 'bytes=0-' })).status).toBe(416);
  });
});
