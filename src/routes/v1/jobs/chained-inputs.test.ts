import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { Output } from '../../../contract/job.ts';
import { outputKey } from '../../../storage/r2/keys.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  PNG,
  postJson,
  problemOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { dryRunSchema } from '../schemas.ts';

const worker = { id: 'w', version: '0' };

/**
 * A finished job of the account with one picture in R2 and one short text; `said`: what its worker said of the text.
 */
async function finished(account: string, call: Call, said: Partial<Output> = {}): Promise<string> {
  const { id } = await submitted(call);
  const claim = crypto.randomUUID();
  await env.JOB.getByName(id).claim({ attempt: 1, claim, worker });
  const key = outputKey(account, id, 1, 'sub/a.png');
  await env.BUCKET.put(key, PNG);
  const common = { node_id: '2', class_type: 'SaveImage', temp: false };
  const outputs: Output[] = [
    {
      ...common,
      name: 'sub/a.png',
      type: 'image',
      content_type: 'image/png',
      size_bytes: PNG.length,
      sha256: 'a'.repeat(64),
      key,
    },
    {
      ...common,
      name: 'note.txt',
      type: 'text',
      content_type: 'text/plain; charset=utf-8',
      size_bytes: 5,
      sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
      key: null,
      text: 'hello',
      ...said,
    },
  ];
  const done = await env.JOB.getByName(id).complete({
    attempt: 1,
    claim,
    last_seq: 0,
    outcome: 'succeeded',
    outputs,
    timings: {},
    usage: {},
  });
  expect(done).toEqual({ stored: 'succeeded' });
  return id;
}

const next = (output: string) => postJson({ workflow: GRAPH, inputs: [{ name: 'in.png', output }] });

describe('a dry run', () => {
  it('names every kind of input as the request named it', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const first = await finished(account, call);
    const [file, text] = [`job:${first}/outputs/sub/a.png`, `job:${first}/outputs/note.txt`];
    const asset = `sha256:${new Uint8Array(await crypto.subtle.digest('SHA-256', PNG)).toHex()}`;
    await call('/v1/assets', { method: 'POST', body: PNG });
    const inputs = [
      { name: 'asset.png', asset },
      { name: 'data.png', data: PNG.toBase64() },
      { name: 'file.png', output: file },
      { name: 'text.txt', output: text },
      { name: 'url.png', url: 'https://files.example.com/a.png' },
    ];
    const response = await call('/v1/jobs/dry-run', postJson({ workflow: GRAPH, inputs }));
    expect(response.status).toBe(200);
    const none = { asset: null, output: null, url: null, used_by: [] };
    const picture = { size_bytes: PNG.length, content_type: 'image/png' };
    const run = dryRunSchema.parse(await response.json());
    expect(run.inputs).toStrictEqual([
      { ...none, ...picture, name: 'asset.png', asset },
      { ...none, ...picture, name: 'data.png', asset },
      { ...none, ...picture, name: 'file.png', output: file },
      { ...none, name: 'text.txt', output: text, size_bytes: 5, content_type: 'text/plain; charset=utf-8' },
      { ...none, name: 'url.png', url: 'https://files.example.com/a.png', size_bytes: null, content_type: null },
    ]);
  });
});

describe("a result of one job as another job's input", () => {
  it('is read by the worker from its place in storage', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const first = await finished(account, call);
    const response = await call('/v1/jobs', next(`job:${first}/outputs/sub/a.png`));
    expect(response.status).toBe(201);
    const { id } = await response.json<{ id: string }>();
    const claimed = await env.JOB.getByName(id).claim({ attempt: 1, claim: crypto.randomUUID(), worker });
    expect('granted' in claimed ? claimed.granted.inputs : []).toEqual([
      {
        name: 'in.png',
        key: outputKey(account, first, 1, 'sub/a.png'),
        sha256: 'a'.repeat(64),
        size_bytes: PNG.length,
        content_type: 'image/png',
      },
    ]);
  });

  it('may be a short text, which becomes a file', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const first = await finished(account, call);
    expect((await call('/v1/jobs', next(`job:${first}/outputs/note.txt`))).status).toBe(201);
    const assets = await env.BUCKET.list({ prefix: `assets/${account}/` });
    expect(assets.objects.map((object) => object.size)).toEqual([5]);
  });

  it('may be a short text with wrong metadata from its worker', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const first = await finished(account, call, { sha256: 'b'.repeat(64), size_bytes: 99 });
    const response = await call('/v1/jobs', next(`job:${first}/outputs/note.txt`));
    expect(response.status).toBe(201);
    const { id } = await response.json<{ id: string }>();
    const claimed = await env.JOB.getByName(id).claim({ attempt: 1, claim: crypto.randomUUID(), worker });
    expect('granted' in claimed ? claimed.granted.inputs : []).toMatchObject([
      { sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824', size_bytes: 5 },
    ]);
  });

  it('must exist in the same account', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const stranger = await newClient();
    const first = await finished(account, call);
    const answers = await Promise.all([
      stranger.call('/v1/jobs', next(`job:${first}/outputs/sub/a.png`)),
      call('/v1/jobs', next(`job:${first}/outputs/b.png`)),
      call('/v1/jobs', next('job:0192f0c1-0000-7000-8000-000000000000/outputs/a.png')),
    ]);
    for (const answer of answers) {
      expect(await problemOf(answer)).toMatchObject({
        status: 422,
        code: 'unknown_output',
        errors: [{ pointer: '#/inputs/0/output' }],
      });
    }
  });

  it.each(['a.png', 'job:x/outputs/a', 'job:0192f0c1-0000-7000-8000-000000000000', ''])(
    'refuses the reference %j',
    async (text) => {
      const { call } = await newClient();
      expect((await call('/v1/jobs', next(text))).status).toBe(422);
    },
  );
});
