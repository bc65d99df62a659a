import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { assetKey } from '../../../storage/r2/keys.ts';
import { MAX_MEMORY_BYTES } from '../../../storage/r2/spool.ts';
import { batchOf, outcomes, acceptedJobs } from '../../../testing/batch.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  ORIGIN,
  ownGateway,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { dryRunSchema } from '../schemas.ts';

/** Files in the body of a job, which go to storage while the body is read. */

/** A PNG followed by filler up to `size` bytes. Each `fill` makes a different file. */
function picture(size: number, fill = 7): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size).fill(fill);
  bytes.set(PNG);
  return bytes;
}

const sha256 = async (bytes: Uint8Array<ArrayBuffer>): Promise<string> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

/** Whether the account has exactly these files, each under its hash and whole. */
async function hasStored(account: string, files: readonly Uint8Array<ArrayBuffer>[]): Promise<boolean> {
  const { objects } = await storedOf(account);
  const found = await Promise.all(
    files.map(async (bytes) => {
      const hash = await sha256(bytes);
      const object = await env.BUCKET.get(assetKey(account, hash));
      return object !== null && hash === (await sha256(new Uint8Array(await object.arrayBuffer())));
    }),
  );
  return objects === files.length && found.every(Boolean);
}

/** Sent with its length, as clients do, or without. */
const sendText = (call: Call, text: string, withLength: boolean, path = '/v1/jobs'): Promise<Response> =>
  call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(withLength ? { 'content-length': String(text.length) } : {}) },
    body: new Blob([text]).stream(),
  });

const LARGE = 3 * MAX_MEMORY_BYTES + 12_345;

describe('a file in the body of a job', () => {
  it.each([
    ['small', 5_000, true],
    ['as large as is held in memory', MAX_MEMORY_BYTES, true],
    ['larger than is held in memory', LARGE, true],
    ['larger than is held in memory, in a body without its length', LARGE, false],
  ])('is stored whole when it is %s', async (_what, size, withLength) => {
    answerRunpod();
    const { account, call } = await newClient();
    const bytes = picture(size);
    const text = JSON.stringify({ workflow: GRAPH, inputs: [{ name: 'a.png', data: bytes.toBase64() }] });
    const answer = await sendText(call, text, withLength);
    expect(answer.status).toBe(201);
    await answer.arrayBuffer();
    expect(await hasStored(account, [bytes])).toBe(true);
  });

  it('may be one of several that do not fit into memory together', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const files = [1, 2, 3, 4, 5].map((fill) => picture(400_000, fill));
    await submitted(call, { inputs: files.map((bytes, at) => ({ name: `${at}.png`, data: bytes.toBase64() })) });
    expect(await hasStored(account, files)).toBe(true);
  });

  it('is checked by its name at any place of the name in the body', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const bytes = new TextEncoder().encode('a,b\n'.repeat(MAX_MEMORY_BYTES / 2));
    const { inputs } = await dryRunOf(
      call,
      `{"inputs":[{"data":"${bytes.toBase64()}","name":"a.csv"}],"workflow":${JSON.stringify(GRAPH)}}`,
    );
    expect(inputs).toMatchObject([{ content_type: 'text/csv; charset=utf-8', size_bytes: bytes.length }]);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('may be a data URL with escaped slashes', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const bytes = Uint8Array.from({ length: LARGE }, (_, at) => (at * 31) % 256);
    bytes.set(PNG);
    const data = `data:image/png;base64,${bytes.toBase64()}`.replaceAll('/', '\\/').replaceAll('=', '\\u003d');
    const answer = await sendText(
      call,
      `{"workflow":${JSON.stringify(GRAPH)},"inputs":[{"name":"a.png","data":"${data}"}]}`,
      true,
    );
    expect(answer.status).toBe(201);
    await answer.arrayBuffer();
    expect(await hasStored(account, [bytes])).toBe(true);
  });
});

async function dryRunOf(call: Call, text: string) {
  const answer = await sendText(call, text, true, '/v1/jobs/dry-run');
  expect(answer.status).toBe(200);
  return dryRunSchema.parse(await answer.json());
}

describe('a body with files that is refused', () => {
  const large = picture(LARGE).toBase64();

  it('names all issues and deletes its files', async () => {
    const { account, call } = await newClient();
    const inputs = [
      { name: 'a.png', data: large },
      { name: 'b.png', data: `${large.slice(0, 2_000_000)}*${large.slice(2_000_001)}` },
      { name: 'c.png', data: '' },
      { name: 'd.bin', data: new Uint8Array(LARGE).toBase64() },
      { name: '../e.png', data: PNG.toBase64() },
    ];
    const problem = await problemOf(await call('/v1/jobs', postJson({ workflow: { '1': {} }, inputs })));
    expect(problem.errors?.map(({ pointer, code }) => `${pointer} ${code}`).toSorted()).toEqual([
      '#/inputs/1/data invalid_base64',
      '#/inputs/2/data empty_file',
      '#/inputs/3/data unsupported_media',
      '#/inputs/4/name invalid_name',
      '#/workflow/1/class_type invalid_node',
      '#/workflow/1/inputs invalid_node',
    ]);
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it.each([
    ['is not JSON', `{"inputs":[{"data":"${large}"}],}`, 'invalid_json'],
    ['breaks off in a file', `{"inputs":[{"data":"${large}`, 'invalid_json'],
    ['has a line break in a file', `{"inputs":[{"data":"${large}\n"}]}`, 'invalid_json'],
    [
      'has more inputs than a job may have',
      `{"workflow":{},"inputs":[${Array.from({ length: 33 }, () => `{"data":"${PNG.toBase64()}"}`).join()}]}`,
      'out_of_range',
    ],
  ])('deletes its files when it %s', async (_what, text, code) => {
    const { account, call } = await newClient();
    expect(await problemOf(await sendText(call, text, false))).toMatchObject({ code });
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('reports the place of a syntax error behind a file as the client counts it', async () => {
    const { call } = await newClient();
    const text = `{"inputs":[\n {"data":"${large}", NaN}]}`;
    const { detail } = await problemOf(await sendText(call, text, true));
    const column = (text.split('\n')[1] ?? '').indexOf('NaN') + 1;
    expect(detail).toBe(
      `Line 2, column ${column}, in #/inputs/0: "NaN" is not JSON; write texts and names in double quotes.`,
    );
  });

  it('is recognized as RunPod’s format with images of any size', async () => {
    const { account, call } = await newClient();
    const input = { workflow: GRAPH, images: [{ name: 'a.png', image: picture(8_000_000).toBase64() }] };
    const problem = await problemOf(await call('/v1/jobs', postJson({ input })));
    expect(problem.detail).toContain("RunPod's POST /run");
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });

  it('is an internal error when storage fails', async () => {
    const { account, key } = await newClient();
    const bucket = new Proxy(env.BUCKET, {
      get: (target, name): unknown => {
        const value: unknown = Reflect.get(target, name);
        const failing = () => Promise.reject(new Error('put: we encountered an internal error (10001)'));
        return name === 'put' ? failing : typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const body = JSON.stringify({ workflow: GRAPH, inputs: [{ name: 'a.png', data: large }] });
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const request = new Request(`${ORIGIN}/v1/jobs`, { method: 'POST', headers, body });
    const answer = await ownGateway().fetch(request, { ...env, BUCKET: bucket });
    expect(answer.status).toBeGreaterThanOrEqual(500);
    await answer.arrayBuffer();
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });
});

describe('a batch with files', () => {
  const job = (bytes: Uint8Array, more: Record<string, unknown> = {}) => ({
    workflow: GRAPH,
    inputs: [{ name: 'a.png', data: bytes.toBase64() }],
    ...more,
  });

  it('stores only the files of accepted jobs', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const [first, second, third] = [1, 2, 3].map((fill) => picture(1_500_000, fill));
    const items = await batchOf(call, [
      job(first ?? PNG),
      job(second ?? PNG, { endpoint: 'nowhere' }),
      job(third ?? PNG),
    ]);
    expect(outcomes(items)).toEqual([201, 'unknown_endpoint', 201]);
    expect(
      await hasStored(
        account,
        [first, third].flatMap((each) => each ?? []),
      ),
    ).toBe(true);
  });

  it('finds the same job when its file is encoded differently', async () => {
    answerRunpod();
    const { call } = await newClient();
    const bytes = picture(LARGE);
    const first = await batchOf(call, [job(PNG), job(bytes, { idempotency_key: 'k' })]);
    const written = { ...job(bytes, { idempotency_key: 'k' }) };
    written.inputs[0] = { name: 'a.png', data: `data:image/png;base64,${bytes.toBase64()}` };
    const again = await batchOf(call, [written]);
    expect(acceptedJobs(again)[0]?.id).toBe(acceptedJobs(first)[1]?.id);
    const other = await batchOf(call, [job(picture(LARGE, 8), { idempotency_key: 'k' })]);
    expect(outcomes(other)).toEqual(['idempotency_key_reuse']);
  });
});
