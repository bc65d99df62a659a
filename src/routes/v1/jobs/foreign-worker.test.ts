import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { testBindings } from '../../../../test/gateway-bindings.ts';
import { imageBytes, roomForImages } from '../../../providers/gpu/worker-comfyui/input.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  storedOf,
  submitted,
} from '../../../testing/gateway.ts';
import { assetKey } from '../../../storage/r2/keys.ts';
import { workerCall } from '../../../testing/worker-calls.ts';

/**
 * Jobs for an endpoint whose worker knows no gateway: what of a request it cannot take is refused before anything
 * happens.
 */

const foreign = (over: Record<string, unknown> = {}): RequestInit =>
  postJson({ workflow: GRAPH, endpoint: 'foreign', ...over });
const base64 = (bytes: Uint8Array): string => bytes.toBase64();

/** An asset of the account with this size and declared type: a PNG that is cut or padded with zeros. */
async function asset(account: string, size: number, contentType: string): Promise<string> {
  const content = new Uint8Array(size);
  content.set(PNG.subarray(0, Math.min(size, PNG.length)));
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', content)).toHex();
  await env.BUCKET.put(assetKey(account, sha256), content, { httpMetadata: { contentType } });
  return `sha256:${sha256}`;
}

describe('an input file', () => {
  it.each([
    ['a text', new TextEncoder().encode('hello'), 'a.txt'],
    ['a picture', PNG, 'a.png'],
  ])('is accepted when it is %s', async (_what, content, name) => {
    answerRunpod();
    const { account, call } = await newClient();
    const answer = await call('/v1/jobs', foreign({ inputs: [{ name, data: base64(content) }] }));
    expect(answer.status).toBe(201);
    expect(await storedOf(account)).toEqual({ jobs: 1, objects: 1 });
  });

  it('gets a name without folders in the graph and in the inputs', async () => {
    const { call } = await newClient();
    const bodies: unknown[] = [];
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
      bodies.push(await new Request(input, init).json());
      return Response.json({ id: 'r', status: 'IN_QUEUE' });
    });
    onTestFinished(() => spy.mockRestore());
    const load = (image: string) => ({ class_type: 'LoadImage', inputs: { image } });
    const workflow = { '1': load('pasted/image (1).png'), '2': load('mask.png [input]'), '3': load('sub\\x.png') };
    const names = ['pasted/image (1).png', 'mask.png [input]', 'sub/x.png'];
    const inputs = names.map((name) => ({ name, data: base64(PNG) }));
    expect((await call('/v1/jobs', foreign({ workflow, inputs }))).status).toBe(201);
    await vi.waitFor(() => expect(bodies).toHaveLength(1));
    expect(bodies[0]).toMatchObject({
      input: {
        workflow: { '1': load('pasted_image (1).png'), '2': load('mask.png'), '3': load('sub_x.png') },
        images: ['pasted_image (1).png', 'mask.png', 'sub_x.png'].map((name) => ({ name, image: base64(PNG) })),
      },
    });
  });

  it('is accepted from a URL with any file type', async () => {
    const { call } = await newClient();
    const spy = vi
      .spyOn(globalThis, 'fetch')
      .mockImplementation((input) =>
        Promise.resolve(
          new Request(input).url.startsWith(testBindings.RUNPOD_BASE_URL)
            ? Response.json({ id: 'r', status: 'IN_QUEUE' })
            : new Response('hello, this is text'),
        ),
      );
    onTestFinished(() => spy.mockRestore());
    const inputs = [{ name: 'a.txt', url: 'https://files.example.org/a.txt' }];
    expect((await call('/v1/jobs', foreign({ inputs }))).status).toBe(201);
  });
});

describe('a job that is too large for one request to RunPod', () => {
  /** The largest image that fits beside the graph, in bytes of the file. */
  const largest = (): number => {
    const room = roomForImages(JSON.stringify(GRAPH)) - imageBytes({ name: 'a.png', size_bytes: 0 });
    return 3 * Math.floor(room / 4);
  };

  it('is accepted at the limit, and refused above it with advice', async () => {
    const { calls } = answerRunpod();
    const { account, call } = await newClient();
    const fits = await asset(account, largest(), 'image/png');
    const over = await asset(account, largest() + 1, 'image/png');
    const job = await call('/v1/jobs', foreign({ inputs: [{ name: 'a.png', asset: fits }] }));
    expect(job.status).toBe(201);
    const before = calls.length;
    const problem = await problemOf(await call('/v1/jobs', foreign({ inputs: [{ name: 'a.png', asset: over }] })));
    expect(problem).toMatchObject({
      status: 413,
      code: 'run_too_large',
      errors: [{ pointer: '#/inputs', detail: expect.stringContaining('worker-gpu') }],
    });
    expect(calls.length).toBe(before);
    expect((await storedOf(account)).jobs).toBe(1);
  });

  it('counts all its files together', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const half = await asset(account, Math.floor(largest() / 2) + 100, 'image/png');
    const inputs = ['a.png', 'b.png'].map((name) => ({ name, asset: half }));
    expect((await problemOf(await call('/v1/jobs', foreign({ inputs })))).code).toBe('run_too_large');
    expect((await call('/v1/jobs', foreign({ inputs: inputs.slice(1) }))).status).toBe(201);
  });

  it('is refused by a dry run too', async () => {
    const { account, call } = await newClient();
    const over = await asset(account, largest() + 1, 'image/png');
    const inputs = [{ name: 'a.png', asset: over }];
    expect((await problemOf(await call('/v1/jobs/dry-run', foreign({ inputs })))).code).toBe('run_too_large');
    expect((await call('/v1/jobs/dry-run', foreign())).status).toBe(200);
  });

  it('is refused after the size of a fetched file is known, and the file is deleted', async () => {
    const { account, call } = await newClient();
    const content = new Uint8Array(largest() + 1);
    content.set(PNG);
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.resolve(new Response(content)));
    onTestFinished(() => spy.mockRestore());
    const inputs = [{ name: 'a.png', url: 'https://files.example.org/a.png' }];
    expect((await problemOf(await call('/v1/jobs', foreign({ inputs })))).code).toBe('run_too_large');
    expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 });
  });
});

describe('the rules of every endpoint', () => {
  it('shape graphs for worker-comfyui too', async () => {
    const runs: unknown[] = [];
    const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
      const request = new Request(input, init);
      if (request.url.startsWith(testBindings.RUNPOD_BASE_URL) && request.url.endsWith('/run')) {
        runs.push(await request.json());
      }
      return Response.json({ id: 'r', status: 'IN_QUEUE' });
    });
    onTestFinished(() => spy.mockRestore());
    const { call } = await newClient();
    await submitted(call, { endpoint: 'foreign', params: { '1': { width: 32 } } });
    await vi.waitFor(() => expect(runs).toHaveLength(1));
    expect(runs[0]).toMatchObject({ input: { workflow: { '1': { inputs: { width: 32 } } }, images: [] } });
    expect(JSON.stringify(runs[0])).not.toContain('"gateway"');
  });

  it('refuse an invalid graph for worker-comfyui too', async () => {
    answerRunpod();
    const { call } = await newClient();
    const workflow = { '1': { class_type: 'SaveImage', inputs: { images: ['9', 0] } } };
    expect((await problemOf(await call('/v1/jobs', foreign({ workflow })))).code).toBe('dangling_link');
  });
});

it('a claim of a worker-comfyui job is refused', async () => {
  answerRunpod();
  const { call } = await newClient();
  const { id } = await submitted(call, { endpoint: 'foreign' });
  const claim = { attempt: 1, claim: crypto.randomUUID(), worker: { id: 'w', version: '1' } };
  expect((await workerCall(id, 'claim', claim)).status).toBe(410);
});
