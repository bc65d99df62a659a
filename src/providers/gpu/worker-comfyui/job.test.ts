import { abortAllDurableObjects } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { assetKey } from '../../../storage/r2/keys.ts';
import {
  ACCOUNT,
  connected,
  createJob,
  dialWatch,
  fakeRunpod,
  deferredAnswer,
  frozenClock,
  outbox,
  runAlarm,
  drained,
  until,
  view,
  type FakeRunpod,
  type JobHarness,
} from '../../../testing/job.ts';
import { PNG } from '../../../testing/gateway.ts';

const WORKER_COMFYUI = { endpoint: 'foreign', worker: 'worker-comfyui' } as const;
const IN_PROGRESS = { id: 'run', status: 'IN_PROGRESS', workerId: 'w9', delayTime: 800 };

const hashOf = async (bytes: Uint8Array): Promise<string> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();

/** Makes a PNG of `size` bytes: a valid head, followed by arbitrary bytes. */
function pngOf(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) {
    bytes[at] = (at * 31) % 251;
  }
  bytes.set(PNG);
  return bytes;
}

const image = (bytes: Uint8Array, filename = 'a.png') => ({ filename, type: 'base64', data: bytes.toBase64() });
/** A record as RunPod sends it: with sorted keys, so that the status comes after the output. */
const completed = (output: unknown) => ({
  delayTime: 800,
  executionTime: 2_500,
  id: 'run',
  output,
  status: 'COMPLETED',
});

/** Lets the job poll its run now. */
async function poll(harness: JobHarness, clock: { pass(ms: number): void }): Promise<void> {
  clock.pass(10_000);
  await runAlarm(harness);
  await drained(harness);
}

/** Creates a job whose run finishes with this record. */
async function jobWithResult(runpod: FakeRunpod, status: unknown, clock = frozenClock()): Promise<JobHarness> {
  const harness = await createJob(WORKER_COMFYUI);
  await drained(harness);
  runpod.answer.status = () => Response.json(status);
  await poll(harness, clock);
  return harness;
}

const stored = async (key: string | null): Promise<Uint8Array> => {
  const object = key === null ? null : await env.BUCKET.get(key);
  return object === null ? new Uint8Array() : new Uint8Array(await object.arrayBuffer());
};

describe('a run request to worker-comfyui', () => {
  it('contains the graph and the images instead of a ticket', async () => {
    const runpod = fakeRunpod();
    const sha256 = await hashOf(PNG);
    await env.BUCKET.put(assetKey(ACCOUNT, sha256), PNG);
    const harness = await createJob({
      ...WORKER_COMFYUI,
      inputs: [{ name: 'me.png', sha256, size_bytes: PNG.length, content_type: 'image/png' }],
    });
    await drained(harness);
    const { url, body } = runpod.calls.find((call) => call.operation === 'run') ?? {};
    expect(url?.pathname).toBe('/v2/ep3/run');
    expect(body).toEqual({
      input: {
        workflow: { '1': { class_type: 'EmptyImage', inputs: {} } },
        images: [{ name: 'me.png', image: PNG.toBase64() }],
      },
      webhook: expect.stringContaining(`/hooks/runpod/${harness.id}/1?token=`),
      policy: expect.objectContaining({ executionTimeout: expect.any(Number), ttl: expect.any(Number) }),
    });
  });

  it('is not sent when a file is missing, and the job fails', async () => {
    const runpod = fakeRunpod();
    const harness = await createJob({
      ...WORKER_COMFYUI,
      inputs: [{ name: 'me.png', sha256: 'f'.repeat(64), size_bytes: 3, content_type: 'image/png' }],
    });
    await drained(harness);
    expect(await view(harness)).toMatchObject({
      status: 'failed',
      error: { code: 'input_fetch_failed', at: 'request' },
    });
    expect(runpod.count('run')).toBe(0);
  });
});

describe('a job on worker-comfyui', () => {
  it("follows RunPod's status to the end, and stores the image", async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    const watch = await connected(dialWatch(harness, null));
    await drained(harness);
    runpod.answer.status = () => Response.json(IN_PROGRESS);
    await poll(harness, clock);
    expect(await view(harness)).toMatchObject({ status: 'running', stage: 'executing', attempts: [{ worker: 'w9' }] });
    runpod.answer.status = () => Response.json(completed({ images: [image(PNG, 'sub/t_00001_.png')] }));
    await poll(harness, clock);
    const done = await view(harness);
    expect(done).toMatchObject({
      status: 'succeeded',
      outputs: [
        {
          name: 't_00001_.png',
          type: 'image',
          content_type: 'image/png',
          size_bytes: PNG.length,
          sha256: await hashOf(PNG),
        },
      ],
      metrics: { execution_ms: 2_500 },
      usage: { billed_seconds: 2.5 },
    });
    expect(await stored(done.outputs[0]?.key ?? null)).toEqual(PNG);
    const words = (await watch.rest()).flatMap((frame) => {
      const { event, data } = frame as { event: string; data: { status?: string; stage?: string | null } };
      return event === 'status' ? [`${data.status}/${data.stage}`] : event === 'output' ? ['output'] : [];
    });
    expect(words).toEqual(['running/executing', 'running/uploading', 'output', 'succeeded/null']);
  });

  it('stores large images in parts without changing a byte', async () => {
    const large = pngOf(9_000_001);
    const harness = await jobWithResult(
      fakeRunpod(),
      completed({ images: [image(large, 'large.png'), image(PNG, 'small.png')] }),
    );
    const { status, outputs } = await view(harness);
    expect(status).toBe('succeeded');
    expect(outputs.map(({ name, size_bytes }) => [name, size_bytes])).toEqual([
      ['large.png', large.length],
      ['small.png', PNG.length],
    ]);
    expect(outputs[0]?.sha256).toBe(await hashOf(large));
    expect(await hashOf(await stored(outputs[0]?.key ?? null))).toBe(outputs[0]?.sha256);
  });

  it('succeeds with the result form of worker-comfyui before version 5', async () => {
    const harness = await jobWithResult(
      fakeRunpod(),
      completed({ message: PNG.toBase64(), refresh_worker: false, status: 'success' }),
    );
    const done = await view(harness);
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'output.png' }] });
    expect(await stored(done.outputs[0]?.key ?? null)).toEqual(PNG);
  });

  it("is polled as soon as RunPod's webhook arrives", async () => {
    const runpod = fakeRunpod();
    frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    runpod.answer.status = () => Response.json(completed({ images: [image(PNG)] }));
    await harness.stub.onProviderWebhook(1);
    await drained(harness);
    expect((await view(harness)).status).toBe('succeeded');
  });

  it.each([
    ['nothing', undefined, 'output_missing'],
    ['an empty list', { images: [] }, 'output_missing'],
    ['no image', { status: 'success_no_images', images: [] }, 'output_missing'],
    ['an error', { error: 'Workflow validation failed: 3: bad' }, 'invalid_workflow'],
    [
      'a status of error',
      { status: 'error', message: 'Workflow execution error: Node Type: K, Node ID: 3, Message: x' },
      'execution_error',
    ],
    ['only errors', { errors: ['something in /comfyui/handler.py broke'] }, 'execution_error'],
    ['no base64', { images: [{ filename: 'a.png', type: 'base64', data: 'not / base64!' }] }, 'output_missing'],
    [
      'base64 that is cut',
      { images: [{ filename: 'a.png', type: 'base64', data: PNG.toBase64().slice(0, -5) }] },
      'output_missing',
    ],
  ])('fails when its run is COMPLETED with %s', async (_name, output, code) => {
    const harness = await jobWithResult(fakeRunpod(), completed(output));
    const { status, error } = await view(harness);
    expect({ status, code: error?.code }).toEqual({ status: 'failed', code });
    expect(error?.message).not.toMatch(/\/comfyui/);
  });

  it('fails, and deletes the file stored from a message that is valid base64', async () => {
    const harness = await jobWithResult(fakeRunpod(), completed({ status: 'success', message: 'done' }));
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'output_missing' }, outputs: [] });
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${harness.id}/` })).objects).toEqual([]);
  });

  it('shows the error of a FAILED run without trace, host and path', async () => {
    const error = JSON.stringify({
      error_type: 'ValueError',
      error_message: 'no such file /root/x.png',
      error_traceback: 'Traceback',
      hostname: 'secret-host',
    });
    const harness = await jobWithResult(fakeRunpod(), { id: 'run', status: 'FAILED', error });
    const done = await view(harness);
    expect(done).toMatchObject({ status: 'failed', error: { code: 'execution_error', message: 'no such file x.png' } });
    expect(JSON.stringify(done)).not.toMatch(/secret-host|Traceback|\/root/);
  });

  it('fails with worker_lost when RunPod no longer knows the run', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    runpod.answer.status = () => Response.json(IN_PROGRESS);
    await poll(harness, clock);
    runpod.answer.status = () => new Response(null, { status: 404 });
    await poll(harness, clock);
    await poll(harness, clock);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'worker_lost' } });
    expect(runpod.count('run')).toBe(1);
  });

  it('does not start a second run when the outcome of /run is unknown', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = () => new Response(null, { status: 502 });
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({
      status: 'failed',
      error: { code: 'provider_failed', retryable: false },
      attempts: [{ status: 'lost' }],
    });
    expect(runpod.count('run')).toBe(1);
  });
});

describe('a result at a URL', () => {
  const FILE = 'https://files.example.org/bucket/a.png?X-Amz-Signature=s';
  const withUrl = completed({ images: [{ filename: 'a.png', type: 's3_url', data: FILE }] });

  it("is downloaded without the gateway's credentials, and stored", async () => {
    const runpod = fakeRunpod();
    runpod.answer.elsewhere = (url) => (url.href === FILE ? new Response(PNG) : new Response(null, { status: 404 }));
    const harness = await jobWithResult(runpod, withUrl);
    const done = await view(harness);
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'a.png', sha256: await hashOf(PNG) }] });
    expect(await stored(done.outputs[0]?.key ?? null)).toEqual(PNG);
    expect(JSON.stringify(done)).not.toContain('X-Amz');
  });

  it.each([
    ['a private address', 'http://169.254.169.254/latest/meta-data'],
    ['plain http', 'http://files.example.org/a.png'],
    ['the gateway itself', 'https://gateway.test/v1/jobs'],
    ['an endless text', `https://files.example.org/${'a'.repeat(5_000)}`],
  ])('is not downloaded from %s', async (_name, data) => {
    const runpod = fakeRunpod();
    const harness = await jobWithResult(runpod, completed({ images: [{ filename: 'a.png', type: 's3_url', data }] }));
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'output_missing' } });
    expect(runpod.calls.filter((call) => call.operation === 'elsewhere')).toEqual([]);
  });

  it('is not downloaded after a redirect to a private address', async () => {
    const runpod = fakeRunpod();
    runpod.answer.elsewhere = () => new Response(null, { status: 302, headers: { location: 'http://10.0.0.1/a.png' } });
    const harness = await jobWithResult(runpod, withUrl);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'output_missing' } });
    expect(runpod.calls.filter((call) => call.operation === 'elsewhere')).toHaveLength(1);
  });

  it('fails the job with output_missing when the URL returns 404', async () => {
    const runpod = fakeRunpod();
    const harness = await jobWithResult(runpod, withUrl);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'output_missing' } });
    expect(runpod.calls.filter((call) => call.operation === 'elsewhere')).toHaveLength(1);
  });

  it('is downloaded again after a transient error', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    runpod.answer.status = () => Response.json(withUrl);
    runpod.answer.elsewhere = () => new Response(null, { status: 503 });
    clock.pass(10_000);
    await runAlarm(harness);
    await until(() => expect(runpod.calls.some((call) => call.operation === 'elsewhere')).toBe(true));
    expect(await view(harness)).toMatchObject({ status: 'running', stage: 'uploading' });
    runpod.answer.elsewhere = () => new Response(PNG);
    await poll(harness, clock);
    expect((await view(harness)).status).toBe('succeeded');
  });
});

describe('a job on worker-comfyui after a crash', () => {
  it('moves its results again to the same keys, and counts them once', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    const answer = completed({
      images: [image(PNG, 'a.png'), { filename: 'b.png', type: 's3_url', data: 'https://files.example.org/b.png' }],
    });
    runpod.answer.status = () => Response.json(answer);
    runpod.answer.elsewhere = () => deferredAnswer().promise;
    clock.pass(10_000);
    await runAlarm(harness);
    await until(() => expect(runpod.calls.some((call) => call.operation === 'elsewhere')).toBe(true));
    await abortAllDurableObjects();
    runpod.answer.elsewhere = () => new Response(PNG);
    expect((await view(harness)).status).toBe('running');
    await runAlarm(harness);
    await drained(harness);
    const done = await view(harness);
    expect(done).toMatchObject({ status: 'succeeded', outputs: [{ name: 'a.png' }, { name: 'b.png' }] });
    const files = await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${harness.id}/` });
    expect(files.objects.map((object) => object.key).toSorted()).toEqual(done.outputs.map(({ key }) => key).toSorted());
  });

  it('does not call /run again when the crash happened during /run', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    runpod.answer.run = () => deferredAnswer().promise;
    const harness = await createJob(WORKER_COMFYUI);
    await until(() => expect(runpod.count('run')).toBe(1));
    await abortAllDurableObjects();
    runpod.answer.run = () => Response.json({ id: 'second' });
    await view(harness);
    await runAlarm(harness);
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'failed', error: { code: 'provider_failed' } });
    expect(runpod.count('run')).toBe(1);
  });
});

describe('canceling a job on worker-comfyui', () => {
  it('cancels the run at RunPod, and ends the job with it', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    runpod.answer.status = () => Response.json(IN_PROGRESS);
    await poll(harness, clock);
    expect((await harness.stub.cancel(ACCOUNT))?.status).toBe('canceling');
    await drained(harness);
    expect(runpod.count('cancel')).toBe(1);
    runpod.answer.status = () => Response.json({ id: 'run', status: 'CANCELLED' });
    clock.pass(1_000);
    await runAlarm(harness);
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'canceled', error: null, attempts: [{ status: 'canceled' }] });
  });

  it('deletes the files of results that are being moved', async () => {
    const runpod = fakeRunpod();
    const clock = frozenClock();
    const harness = await createJob(WORKER_COMFYUI);
    await drained(harness);
    runpod.answer.status = () =>
      Response.json(completed({ images: [{ filename: 'b.png', data: 'https://files.example.org/b.png' }] }));
    const held = deferredAnswer();
    runpod.answer.elsewhere = () => held.promise;
    clock.pass(10_000);
    await runAlarm(harness);
    await until(() => expect(runpod.calls.some((call) => call.operation === 'elsewhere')).toBe(true));
    await harness.stub.cancel(ACCOUNT);
    clock.pass(15_000);
    await harness.stub.rearm();
    expect((await view(harness)).status).toBe('canceled');
    await held.give(harness, () => new Response(PNG));
    await drained(harness);
    expect(await view(harness)).toMatchObject({ status: 'canceled', outputs: [] });
    expect((await env.BUCKET.list({ prefix: `outputs/${ACCOUNT}/${harness.id}/` })).objects).toEqual([]);
  });
});

describe('the outbox of a job on worker-comfyui', () => {
  it('is empty after the job has finished', async () => {
    const harness = await jobWithResult(fakeRunpod(), completed({ images: [image(PNG)] }));
    expect(await outbox(harness)).toEqual([]);
  });
});
