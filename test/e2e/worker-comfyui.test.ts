import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { Job } from '../../clients/sdk/index.ts';
import { drawPicture } from '../../local/demo/picture.ts';
import { ensureEnvironment } from '../../local/python/environment.ts';
import {
  ended,
  eventsOf,
  finals,
  numbers,
  type Platform,
  QUICK_POLICY,
  startPlatform,
  until,
  upTo,
} from './platform.ts';
import { type Files, startFiles } from './foreign/files.ts';

/**
 * An endpoint that runs worker-comfyui: the gateway, the local RunPod and the real RunPod SDK, whose handler answers as
 * worker-comfyui does (foreign/handler.py).
 */

let platform: Platform;
let files: Files;
beforeAll(async () => {
  files = await startFiles();
  const root = resolve(import.meta.dirname, '..', '..');
  const made = await ensureEnvironment({ root, signal: AbortSignal.timeout(300_000), report: () => undefined });
  if (!made.ok) {
    throw new Error(made.message);
  }
  const command = [made.value.python, join(import.meta.dirname, 'foreign', 'handler.py')];
  const env = { FILES_URL: files.url, PYTHONUNBUFFERED: '1' };
  const settings = { environment: 'any', worker: 'worker-comfyui' };
  platform = await startPlatform({
    // Long enough for a webhook to name its run on a busy machine.
    policy: { ...QUICK_POLICY, claim_grace: 10 },
    endpoints: {
      foreign: {
        gateway: { ...settings, runpod_id: 'foreign' },
        runpod: { id: 'foreign', workers: { min: 1, max: 1, command, env } },
      },
      // worker-gpu, which also accepts whole jobs without a ticket.
      direct: { gateway: { ...settings, runpod_id: 'local' } },
    },
  });
});
afterAll(async () => {
  files.go();
  await platform.stop();
  await files.close();
});

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * The same bytes that the handler makes, by one call: a loop over small blocks kept the process busy for longer than the
 * gateway keeps a connection open, and the next request went out on a closed one.
 */
function picture(size: number): Uint8Array<ArrayBuffer> {
  const header = Buffer.from('89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de', 'hex');
  const noise = createHash('shake256', { outputLength: size }).update('picture').digest();
  return new Uint8Array(Buffer.concat([header, noise]).subarray(0, size));
}

const graph = (inputs: Record<string, unknown>) => ({ '1': { class_type: 'Answer', inputs } });
const submit = (inputs: Record<string, unknown>, over: Record<string, unknown> = {}): Promise<Job> =>
  platform.edge.jobs.submit({ workflow: graph(inputs), endpoint: 'foreign', ...over });
const run = async (inputs: Record<string, unknown>): Promise<Job> => ended(platform.edge, (await submit(inputs)).id);

async function downloaded(job: Job, name: string): Promise<Uint8Array> {
  const response = await platform.edge.jobs.download(job.id, name);
  return new Uint8Array(await response.arrayBuffer());
}

describe('a job on an endpoint that runs worker-comfyui', () => {
  test('sends its input images and returns its outputs', async ({ expect }) => {
    const { edge } = platform;
    const [asset, inline] = [picture(70_000), picture(500)];
    const { id } = await edge.assets.upload(asset, { contentType: 'image/png' });
    const job = await submit(
      { with: 'its images' },
      {
        inputs: [
          { name: 'photo.png', asset: id },
          { name: 'mask.png', data: Buffer.from(inline).toString('base64') },
        ],
      },
    );
    const events = await eventsOf(edge, job.id);
    const done = await edge.jobs.get(job.id);
    expect(done).toMatchObject({
      status: 'succeeded',
      endpoint: 'foreign',
      outputs: [
        {
          name: 'photo.png',
          type: 'image',
          content_type: 'image/png',
          sha256: sha256(asset),
          size_bytes: asset.length,
        },
        { name: 'mask.png', sha256: sha256(inline) },
      ],
      attempts: [{ status: 'succeeded' }],
    });
    expect(finals(events)).toHaveLength(1);
    expect(numbers(events)).toEqual(upTo(done.last_event));
    expect(events.flatMap((event) => (event.event === 'output' ? [event.data.name] : []))).toEqual([
      'photo.png',
      'mask.png',
    ]);
    expect(sha256(await downloaded(done, 'photo.png'))).toBe(sha256(asset));
    expect(sha256(await downloaded(done, 'mask.png'))).toBe(sha256(inline));
  });

  test('sends any input file and returns a video as a video', async ({ expect }) => {
    const { edge } = platform;
    const video = Buffer.concat([Buffer.from('000000206674797069736f6d', 'hex'), Buffer.alloc(4_000, 7)]);
    const { id } = await edge.assets.upload(video, { contentType: 'video/mp4' });
    const job = await submit({ with: 'its images' }, { inputs: [{ name: 'clip.mp4', asset: id }] });
    expect(await ended(edge, job.id)).toMatchObject({
      status: 'succeeded',
      outputs: [{ name: 'clip.mp4', type: 'video', content_type: 'video/mp4', sha256: sha256(video) }],
    });
  });

  test("returns an output as large as RunPod's limit for a response", async ({ expect }) => {
    const size = 12_000_000;
    const done = await run({ with: 'picture', size });
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'ComfyUI_00001_.png', size_bytes: size }] });
    expect(sha256(await downloaded(done, 'ComfyUI_00001_.png'))).toBe(sha256(picture(size)));
  });

  test('accepts the response of a worker before version 5', async ({ expect }) => {
    const done = await run({ with: 'old picture', size: 3_000 });
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'output.png' }] });
    expect(await downloaded(done, 'output.png')).toEqual(picture(3_000));
  });

  test('accepts results as URLs', async ({ expect }) => {
    files.content.set('bucket/a.png', picture(20_000));
    const done = await run({ with: 'url', file: 'bucket/a.png' });
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'a.png', sha256: sha256(picture(20_000)) }] });
    expect(JSON.stringify(done)).not.toContain('canary');
    expect(await run({ with: 'url', file: 'bucket/gone.png' })).toMatchObject({
      status: 'failed',
      error: { code: 'output_missing' },
    });
  });

  test('shows the progress that its worker reports to RunPod', async ({ expect }) => {
    const { edge } = platform;
    const job = await submit({ with: 'progress' });
    const waits = files.waiting();
    const event = await until(edge, job.id, (each) => each.event === 'progress');
    expect(event).toMatchObject({ data: { current_node: '3', step: 5, steps: 20 } });
    await waits;
    files.go();
    expect(await ended(edge, job.id)).toMatchObject({ status: 'succeeded' });
  });
});

describe('a job for worker-gpu without a ticket', () => {
  test('runs the graph, reports progress, and returns outputs with their nodes', async ({ expect }) => {
    const { edge } = platform;
    const photo = drawPicture(64, 64);
    const job = await edge.jobs.submit({
      endpoint: 'direct',
      workflow: {
        '1': { class_type: 'LoadImage', inputs: { image: 'photo.png' } },
        '5': { class_type: 'SlowSteps', inputs: { image: ['1', 0], steps: 40, seconds: 4, preview: false } },
        '2': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 't' } },
      },
      inputs: [{ name: 'photo.png', data: photo.toString('base64') }],
    });
    const events = await eventsOf(edge, job.id);
    const done = await edge.jobs.get(job.id);
    expect(done).toMatchObject({
      status: 'succeeded',
      outputs: [{ node_id: '2', class_type: 'SaveImage', type: 'image', content_type: 'image/png' }],
    });
    expect(sha256(await downloaded(done, done.outputs[0]?.name ?? ''))).toBe(done.outputs[0]?.sha256);
    expect(events.some((event) => event.event === 'progress' && event.data.current_node === '5')).toBe(true);
  });

  test('fails with the code of its error', async ({ expect }) => {
    const { edge } = platform;
    const workflow = { '1': { class_type: 'NoSuchNode', inputs: {} } };
    const job = await ended(edge, (await edge.jobs.submit({ endpoint: 'direct', workflow })).id);
    expect(job).toMatchObject({ status: 'failed', error: { code: 'invalid_workflow', at: 'workflow' } });
  });
});

describe('a failed job on worker-comfyui', () => {
  test.for([
    ['error', 'execution_error', 'sd.safetensors'],
    ['exception', 'execution_error', 'boom'],
    ['picture and errors', 'execution_error', 'broke'],
    ['no images', 'output_missing', 'saved no images'],
    ['no outputs', 'output_missing', 'saved no images'],
    ['refusal', 'model_missing', 'lacks the model nope.safetensors'],
    ['nothing', 'output_missing', 'without an output'],
  ] as const)('with %s has the code %s and no detail of the machine', async ([how, code, text], { expect }) => {
    const done = await run({ with: how });
    expect(done).toMatchObject({ status: 'failed', error: { code, message: expect.stringContaining(text) } });
    expect(JSON.stringify([done.error, done.attempts])).not.toMatch(/\/comfyui|Traceback|hostname|127\.0\.0\.1/);
  });

  test('keeps the output that was made before the error', async ({ expect }) => {
    const done = await run({ with: 'picture and errors' });
    expect(done).toMatchObject({ status: 'failed', outputs: [{ name: 'a.png' }], error: { node: { id: '3' } } });
    expect(await downloaded(done, 'a.png')).toEqual(picture(100));
  });

  test('is tried once more on another worker when its worker died', async ({ expect }) => {
    const done = await run({ with: 'exit' });
    expect(done).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } });
    expect(done.attempts).toHaveLength(2);
    expect(new Set(done.attempts.map(({ worker }) => worker)).size).toBe(2);
  });
});

describe('canceling a job on worker-comfyui', () => {
  test('cancels its run at RunPod and leaves the worker ready for the next job', async ({ expect }) => {
    const { edge } = platform;
    const mark = platform.runpod.events.last;
    const waits = files.waiting();
    const job = await submit({ with: 'waiting' });
    await waits;
    await until(edge, job.id, (each) => each.event === 'status' && each.data.status === 'running');
    expect(['canceling', 'canceled']).toContain((await edge.jobs.cancel(job.id)).status);
    const events = await eventsOf(edge, job.id);
    expect(finals(events)).toHaveLength(1);
    expect(await edge.jobs.get(job.id)).toMatchObject({ status: 'canceled', error: null, outputs: [] });
    expect(await platform.happened({ type: 'job_finished', after: mark })).toMatchObject({ status: 'CANCELLED' });
    files.go();
    expect(await run({ with: 'old picture', size: 200 })).toMatchObject({ status: 'succeeded' });
  });
});

describe('a run of worker-comfyui at RunPod', () => {
  test('is polled to its end when its webhook is lost', async ({ expect }) => {
    await platform.admin('/faults', { kind: 'webhook', action: 'lose' });
    expect(await run({ with: 'old picture', size: 200 })).toMatchObject({ status: 'succeeded' });
  });

  test('is found by its webhook when the answer of /run was lost', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'after' });
    expect(await run({ with: 'old picture', size: 200 })).toMatchObject({
      status: 'succeeded',
      attempts: [{ number: 1, status: 'succeeded' }],
    });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });

  test('is not started twice when neither answer nor webhook arrives', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    await platform.admin('/faults', { kind: 'drop', operation: 'run', when: 'after' });
    await platform.admin('/faults', { kind: 'webhook', action: 'lose' });
    expect(await run({ with: 'old picture', size: 200 })).toMatchObject({
      status: 'failed',
      error: { code: 'provider_failed', retryable: false },
    });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toHaveLength(1);
  });
});

describe('a job near the size limit of a run', () => {
  test('is rejected with run_too_large before it is stored when it is larger', async ({ expect }) => {
    const mark = platform.runpod.events.last;
    const large = Buffer.from(picture(7_600_000)).toString('base64');
    const inputs = [{ name: 'large.png', data: large }];
    await expect(submit({ with: 'its images' }, { inputs })).rejects.toMatchObject({
      status: 413,
      code: 'run_too_large',
    });
    expect(platform.runpod.events.find({ type: 'job_queued', after: mark })).toEqual([]);
  });

  test('succeeds just under the limit, and its image is returned byte for byte', async ({ expect }) => {
    const { edge } = platform;
    const largest = picture(7_490_000);
    const { id } = await edge.assets.upload(largest, { contentType: 'image/png' });
    const job = await submit({ with: 'its images' }, { inputs: [{ name: 'l.png', asset: id }] });
    const done = await ended(edge, job.id);
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ sha256: sha256(largest) }] });
  });
});
