import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { MAX_UPLOAD_URLS, PART_BYTES, SINGLE_PUT_BYTES } from '../../contract/worker.ts';
import { assetKey, outputKey } from '../../storage/r2/keys.ts';
import { anyone } from '../../testing/gateway.ts';
import {
  ACCOUNT,
  createClaimedJob,
  createJob,
  fakeRunpod,
  frozenClock,
  JobSocket,
  newId,
  drained,
  view,
  WORKER,
  type JobHarness,
} from '../../testing/job.ts';
import { answerOf, tokenFor, workerCall } from '../../testing/worker-calls.ts';

const SHA = 'a'.repeat(64);
const file = (name: string, size_bytes: number, content_type = 'image/png') => ({
  name,
  size_bytes,
  sha256: SHA,
  content_type,
});
const outputOf = (id: string, name: string, size_bytes: number) => ({
  name,
  node_id: '2',
  class_type: 'SaveImage',
  type: 'image',
  content_type: 'image/png',
  size_bytes,
  sha256: SHA,
  key: outputKey(ACCOUNT, id, 1, name),
  temp: false,
});
const complete = (harness: JobHarness & { claim: string }, over: object = {}) =>
  workerCall(harness.id, 'complete', {
    attempt: 1,
    claim: harness.claim,
    last_seq: 0,
    outcome: 'succeeded',
    outputs: [],
    ...over,
  });

describe('a claim', () => {
  it('returns everything that a run needs, and the same on a repeated claim', async () => {
    fakeRunpod();
    frozenClock();
    const input = { name: 'photo.png', sha256: SHA, size_bytes: 3, content_type: 'image/png' };
    const harness = await createJob({ inputs: [input] });
    const claim = { attempt: 1, claim: crypto.randomUUID(), worker: WORKER, catalog: SHA };
    const first = await answerOf(await workerCall(harness.id, 'claim', claim));
    expect(first).toMatchObject({
      status: 200,
      body: {
        job: harness.id,
        attempt: 1,
        prompt_id: harness.id,
        workflow: { '1': { class_type: 'EmptyImage' } },
        inputs: [{ ...input, url: expect.stringContaining(`https://r2.test/comfy-edge/${assetKey(ACCOUNT, SHA)}?`) }],
        options: { previews: true, temp_outputs: false, metadata: true },
        limits: { max_output_bytes: 5 * 1024 ** 3, max_outputs: 1000, max_text_bytes: 16_384, silence_s: 900 },
        deadline: new Date((await view(harness)).deadline).toISOString(),
        server_time: new Date().toISOString(),
        catalog_wanted: true,
      },
    });
    expect(await answerOf(await workerCall(harness.id, 'claim', claim))).toEqual(first);
  });

  it("returns the client's output options", async () => {
    fakeRunpod();
    const options = { previews: false, temp_outputs: true, metadata: false };
    const harness = await createJob({ options });
    const claim = { attempt: 1, claim: crypto.randomUUID(), worker: WORKER };
    expect(await answerOf(await workerCall(harness.id, 'claim', claim))).toMatchObject({ body: { options } });
  });

  it('returns a scope that is equal for one account and does not reveal its name', async () => {
    fakeRunpod();
    const scopeFor = async (account: string) => {
      const harness = await createJob({ account });
      const claim = { attempt: 1, claim: crypto.randomUUID(), worker: WORKER };
      const { body } = await answerOf(await workerCall(harness.id, 'claim', claim));
      return z.object({ scope: z.string().regex(/^[0-9a-f]{64}$/) }).parse(body).scope;
    };
    expect(await scopeFor('acme')).toBe(await scopeFor('acme'));
    expect(await scopeFor('acme')).not.toBe(await scopeFor('other'));
  });

  it('is granted to one of several concurrent deliveries of a ticket', async () => {
    fakeRunpod();
    const harness = await createJob();
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        workerCall(harness.id, 'claim', { attempt: 1, claim: crypto.randomUUID(), worker: WORKER }).then(answerOf),
      ),
    );
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 409)).toHaveLength(7);
    expect(answers.find((answer) => answer.status === 409)?.body).toMatchObject({ code: 'claimed_elsewhere' });
  });

  it('is rejected for a finished, canceled or erased job', async () => {
    fakeRunpod();
    const harness = await createJob();
    await harness.stub.cancel(ACCOUNT);
    const claim = { attempt: 1, claim: crypto.randomUUID(), worker: WORKER };
    expect(await answerOf(await workerCall(harness.id, 'claim', claim))).toMatchObject({
      status: 410,
      body: { code: 'job_over' },
    });
    expect(await answerOf(await workerCall(newId(), 'claim', claim))).toMatchObject({
      status: 404,
      body: { code: 'job_not_found' },
    });
  });

  it('gets a different, stable prompt id for a later attempt', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const error = { code: 'out_of_memory', message: 'no', at: 'worker', retryable: true };
    expect(await answerOf(await complete(harness, { outcome: 'failed', error }))).toEqual({
      status: 200,
      body: { status: 'queued' },
    });
    const again = { attempt: 2, claim: crypto.randomUUID(), worker: WORKER };
    const ask = async () =>
      z
        .object({ prompt_id: z.string() })
        .parse((await answerOf(await workerCall(harness.id, 'claim', again, { attempt: 2 }))).body).prompt_id;
    const id = await ask();
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(id).not.toBe(harness.id);
    expect(await ask()).toBe(id);
  });

  it.each([
    ['no JSON', '{'],
    ['no attempt', { claim: crypto.randomUUID(), worker: WORKER }],
    ['attempt zero', { attempt: 0, claim: crypto.randomUUID(), worker: WORKER }],
    ['a claim that is no UUID', { attempt: 1, claim: 'x', worker: WORKER }],
    ['no worker', { attempt: 1, claim: crypto.randomUUID() }],
  ])('is rejected with %s, and the error names the field', async (_name, body) => {
    fakeRunpod();
    const harness = await createJob();
    expect(await answerOf(await workerCall(harness.id, 'claim', body))).toMatchObject({
      status: 422,
      body: { code: 'invalid_request' },
    });
    await drained(harness);
    expect((await view(harness)).status).toBe('queued');
  });
});

describe('upload URLs', () => {
  const uploads = (harness: JobHarness & { claim: string }, files: unknown[], claim = harness.claim) =>
    workerCall(harness.id, 'uploads', { attempt: 1, claim, files });

  it('returns URLs in the given order: one PUT up to the limit, equal parts above it', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const files = [
      file('b.png', 1),
      file('big.mp4', SINGLE_PUT_BYTES + 1, 'video/mp4'),
      file('a b.png', SINGLE_PUT_BYTES),
    ];
    const { status, body } = await answerOf(await uploads(harness, files));
    expect(status).toBe(200);
    const put = (name: string) => ({
      name,
      key: outputKey(ACCOUNT, harness.id, 1, name),
      method: 'PUT',
      url: expect.stringContaining(`https://r2.test/comfy-edge/${outputKey(ACCOUNT, harness.id, 1, name)}?`),
      headers: { 'content-type': 'image/png' },
    });
    expect(body).toEqual({
      uploads: [
        put('b.png'),
        {
          name: 'big.mp4',
          key: outputKey(ACCOUNT, harness.id, 1, 'big.mp4'),
          method: 'MULTIPART',
          upload_id: expect.any(String),
          part_bytes: PART_BYTES,
          parts: [1, 2, 3, 4, 5].map((number) => ({ number, url: expect.stringContaining(`partNumber=${number}`) })),
        },
        put('a b.png'),
      ],
    });
  });

  it('returns the same key when repeated', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const keys = async () =>
      z
        .object({ uploads: z.array(z.object({ key: z.string() })) })
        .parse((await answerOf(await uploads(harness, [file('a.png', 1)]))).body).uploads;
    expect(await keys()).toEqual(await keys());
  });

  it('rejects a call for more than MAX_UPLOAD_URLS URLs and does nothing', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const begin = vi.spyOn(env.BUCKET, 'createMultipartUpload');
    onTestFinished(() => begin.mockRestore());
    const large = PART_BYTES * 250;
    const files = (count: number) => Array.from({ length: count }, (_, index) => file(`${index}.mp4`, large));
    expect(await answerOf(await uploads(harness, [...files(4), file('a.png', 1)]))).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', detail: expect.stringContaining(String(MAX_UPLOAD_URLS)) },
    });
    expect(begin).not.toHaveBeenCalled();
    const { status, body } = await answerOf(await uploads(harness, files(4)));
    expect(status).toBe(200);
    expect(JSON.stringify(body).length).toBeLessThan(1_000_000);
  });

  it('rejects a file that is too large, another claim, and a finished job', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    expect(await answerOf(await uploads(harness, [file('a', 5 * 1024 ** 3 + 1)]))).toMatchObject({
      status: 413,
      body: { code: 'output_too_large', names: ['a'] },
    });
    expect(await answerOf(await uploads(harness, [file('a', 1)], crypto.randomUUID()))).toMatchObject({
      status: 409,
      body: { code: 'claimed_elsewhere' },
    });
    await complete(harness);
    expect(await answerOf(await uploads(harness, [file('a', 1)]))).toMatchObject({
      status: 410,
      body: { code: 'job_over' },
    });
  });

  it.each([
    file('../a', 1),
    file('/a', 1),
    file('a\\b', 1),
    file('', 1),
    file('x'.repeat(256), 1),
    file('a', -1),
    file('a', 1.5),
    { ...file('a', 1), sha256: 'A'.repeat(64) },
  ])('rejects an invalid file: %j', async (bad) => {
    fakeRunpod();
    const harness = await createClaimedJob();
    expect(await answerOf(await uploads(harness, [bad]))).toMatchObject({
      status: 422,
      body: { code: 'invalid_request' },
    });
  });

  it.each(['image/png\r\nx: y', 'bild/größe', 'text/plain; a="\0"', ''])(
    'stores a file as octets whose type cannot stand in a header: %j',
    async (type) => {
      fakeRunpod();
      const harness = await createClaimedJob();
      expect(await answerOf(await uploads(harness, [file('a', 1, type)]))).toMatchObject({
        status: 200,
        body: { uploads: [{ headers: { 'content-type': 'application/octet-stream' } }] },
      });
    },
  );
});

describe('a multipart upload', () => {
  const begun = z.object({ uploads: z.tuple([z.object({ key: z.string(), upload_id: z.string() })]) });

  async function inParts() {
    fakeRunpod();
    const harness = await createClaimedJob();
    const asked = await workerCall(harness.id, 'uploads', {
      attempt: 1,
      claim: harness.claim,
      files: [file('big.mp4', SINGLE_PUT_BYTES + 1, 'video/mp4')],
    });
    const { key, upload_id } = begun.parse((await answerOf(asked)).body).uploads[0];
    const part = await env.BUCKET.resumeMultipartUpload(key, upload_id).uploadPart(1, 'all of it');
    const finish = (over: object = {}) =>
      workerCall(harness.id, 'uploads/finish', {
        attempt: 1,
        claim: harness.claim,
        key,
        upload_id,
        parts: [{ number: 1, etag: `"${part.etag}"` }],
        ...over,
      });
    return { harness, key, finish };
  }

  it('is completed once, and a repeated call gets the same answer', async () => {
    const { key, finish } = await inParts();
    expect((await finish()).status).toBe(204);
    expect((await finish()).status).toBe(204);
    const stored = await env.BUCKET.head(key);
    expect(stored).toMatchObject({ size: 9, httpMetadata: { contentType: 'video/mp4' } });
  });

  it('is not completed under a key that R2 does not accept', async () => {
    const { key, finish } = await inParts();
    for (const tail of ['x'.repeat(1_500), '/../../x', '\0', '日'.repeat(400)]) {
      const answer = await answerOf(await finish({ key: `${key}${tail}` }));
      expect([tail.slice(0, 9), answer]).toMatchObject([
        tail.slice(0, 9),
        { status: 409, body: { code: 'output_missing' } },
      ]);
    }
    expect((await finish()).status).toBe(204);
  });

  it('is not completed when R2 does not know the upload or a part', async () => {
    const { key, finish } = await inParts();
    for (const wrong of [
      { parts: [{ number: 1, etag: 'nope' }] },
      { parts: [{ number: 2, etag: 'nope' }] },
      { upload_id: 'nope' },
    ]) {
      expect(await answerOf(await finish(wrong))).toMatchObject({ status: 409, body: { code: 'output_missing' } });
    }
    expect(await env.BUCKET.head(key)).toBeNull();
    expect((await finish()).status).toBe(204);
  });

  it('cannot be completed under a key of another job, attempt or kind', async () => {
    const { harness, finish } = await inParts();
    for (const key of [
      outputKey(ACCOUNT, newId(), 1, 'x'),
      outputKey(ACCOUNT, harness.id, 2, 'x'),
      assetKey(ACCOUNT, SHA),
    ]) {
      expect(await answerOf(await finish({ key }))).toMatchObject({ status: 409, body: { code: 'output_missing' } });
    }
  });
});

describe('a final report', () => {
  it('fails a job with more outputs than max_outputs without looking them up', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const looks = vi.spyOn(env.BUCKET, 'head');
    onTestFinished(() => looks.mockRestore());
    const outputs = Array.from({ length: 1_001 }, (_, index) => outputOf(harness.id, `${index}.png`, 3));
    for (let times = 0; times < 2; times += 1) {
      expect(await answerOf(await complete(harness, { outputs }))).toEqual({ status: 200, body: { status: 'failed' } });
    }
    expect(await view(harness)).toMatchObject({ outputs: [], error: { code: 'output_too_large', at: 'workflow' } });
    expect(looks).not.toHaveBeenCalled();
  });

  it('gets 200 only when it is stored, and the same answer when repeated', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const output = outputOf(harness.id, 't.png', 3);
    const missing = { status: 409, body: { code: 'output_missing', missing: ['t.png'] } };
    expect(await answerOf(await complete(harness, { outputs: [output] }))).toMatchObject(missing);
    await env.BUCKET.put(output.key, 'ab');
    expect(await answerOf(await complete(harness, { outputs: [output] }))).toMatchObject(missing);
    await env.BUCKET.put(output.key, 'abc');
    const stored = { status: 200, body: { status: 'succeeded' } };
    expect(await answerOf(await complete(harness, { outputs: [output] }))).toEqual(stored);
    expect(await answerOf(await complete(harness, { outputs: [output] }))).toEqual(stored);
    expect(await view(harness)).toMatchObject({
      status: 'succeeded',
      outputs: [{ name: 't.png', class_type: 'SaveImage' }],
    });
  });

  it('becomes an internal error when its code is unknown, and its unknown fields are ignored', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const error = { code: 'cosmic_ray', message: 'bit', at: 'space', retryable: false, colour: 'blue' };
    expect((await complete(harness, { outcome: 'failed', error, mood: 'bad' })).status).toBe(200);
    expect(await view(harness)).toMatchObject({
      status: 'failed',
      error: { code: 'internal', at: 'worker', message: 'bit' },
    });
  });

  it("stores the attempt's environment, and an invalid environment does not prevent the result", async () => {
    fakeRunpod();
    const harness = await createJob();
    const claim = crypto.randomUUID();
    const worker = {
      id: 'w1',
      version: '0.2.0',
      comfyui_version: '0.33.0',
      gpu: 'L4',
      image: '1.4.0',
      nodes: 'n'.repeat(64),
    };
    await workerCall(harness.id, 'claim', { attempt: 1, claim, worker });
    const said = {
      worker_version: '0.2.0',
      comfyui_version: '0.33.0',
      gpu: 'L4',
      image: '1.4.0',
      nodes: 'n'.repeat(64),
    };
    expect((await view(harness)).attempts[0]?.environment).toEqual({
      ...said,
      models: null,
      memory_free_bytes: null,
      disk_free_bytes: null,
    });
    const models = [{ path: 'loras/a.safetensors', sha256: SHA }];
    const ran_with = { models, memory_free_bytes: 1, disk_free_bytes: null };
    await complete({ ...harness, claim }, { ran_with });
    expect((await view(harness)).attempts[0]?.environment).toEqual({ ...said, ...ran_with });

    const other = await createClaimedJob();
    expect((await complete(other, { ran_with: { models: 'all of them' } })).status).toBe(200);
    expect((await view(other)).attempts[0]).toMatchObject({ status: 'succeeded', environment: { models: null } });
  });

  it('is rejected from another claim and from a stale attempt', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const body = { claim: crypto.randomUUID() };
    expect(await answerOf(await complete(harness, body))).toMatchObject({
      status: 409,
      body: { code: 'claimed_elsewhere' },
    });
    const error = { code: 'out_of_memory', message: 'no', at: 'worker', retryable: true };
    await complete(harness, { outcome: 'failed', error });
    expect(await answerOf(await complete(harness))).toMatchObject({ status: 410, body: { code: 'job_over' } });
  });
});

describe('the channel', () => {
  const dial = async (id: string, claim: string, headers: Record<string, string> = { upgrade: 'websocket' }) =>
    anyone(`/worker/jobs/${id}/channel?attempt=1&claim=${claim}`, {
      headers: { authorization: `Bearer ${await tokenFor(id)}`, ...headers },
    });

  it('is a WebSocket to the job whose first frame is the ack', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const { webSocket } = await dial(harness.id, harness.claim);
    if (webSocket === null) {
      throw new Error('no socket');
    }
    const line = new JobSocket(webSocket);
    expect(await line.next()).toEqual({ ack: 0 });
    expect(await line.ask({ seq: 1, type: 'stage', stage: 'models' })).toEqual({ ack: 1 });
    expect(await view(harness)).toMatchObject({ stage: 'models' });
  });

  it('is rejected with the codes of the contract', async () => {
    fakeRunpod();
    const harness = await createClaimedJob();
    expect(await answerOf(await dial(harness.id, harness.claim, {}))).toMatchObject({
      status: 422,
      body: { code: 'invalid_request' },
    });
    expect(await answerOf(await dial(harness.id, crypto.randomUUID()))).toMatchObject({
      status: 409,
      body: { code: 'claimed_elsewhere' },
    });
    expect(await answerOf(await dial(newId(), harness.claim))).toMatchObject({
      status: 404,
      body: { code: 'job_not_found' },
    });
    await complete(harness);
    expect(await answerOf(await dial(harness.id, harness.claim))).toMatchObject({
      status: 410,
      body: { code: 'job_over' },
    });
  });
});

describe('the body of a worker call', () => {
  it.each([
    ['claim', 'POST', 64 * 1024],
    ['uploads', 'POST', 2 * 1024 * 1024],
    ['uploads/finish', 'POST', 2 * 1024 * 1024],
    ['complete', 'POST', 16 * 1024 * 1024],
    ['catalog', 'PUT', 16 * 1024 * 1024],
  ])('is rejected above its limit for %s', async (path, method, limit) => {
    fakeRunpod();
    const harness = await createClaimedJob();
    const send = async (length: number) => answerOf(await workerCall(harness.id, path, ' '.repeat(length), { method }));
    const tooLarge = { code: 'invalid_request', detail: `The body may be at most ${limit} bytes.` };
    expect((await send(limit + 1)).body).toMatchObject(tooLarge);
    expect((await send(limit)).body).not.toMatchObject(tooLarge);
  });
});
