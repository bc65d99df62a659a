import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import { testBindings } from '../../test/gateway-bindings.ts';
import { storedTypeOf } from '../domain/files/presentation.ts';
import { MAX_INLINE_TEXT_BYTES } from '../contract/worker.ts';
import { signToken } from '../providers/tokens.ts';
import { outputKey } from '../storage/r2/keys.ts';
import { anyone } from './gateway.ts';

/** A file or text that the fake worker uploads. */
export type WorkerOutput = { name: string; content_type: string; bytes: Uint8Array };

/** Runs a job's first attempt over the worker API: claims it, puts the outputs into R2, completes it. */
export async function runAsWorker(account: string, job: string, made: readonly WorkerOutput[]): Promise<void> {
  const token = await signToken(testBindings.TOKEN_SECRET, { purpose: 'worker', job, attempt: 1 }, Date.now() + 60_000);
  const claim = crypto.randomUUID();
  const post = async (path: string, body: unknown): Promise<void> => {
    const response = await anyone(`/worker/jobs/${job}/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
  };
  await post('claim', { attempt: 1, claim, worker: { id: 'w1', version: 'test' } });
  const outputs = await Promise.all(made.map((each) => deliver(account, job, each)));
  await post('complete', { attempt: 1, claim, last_seq: 0, outcome: 'succeeded', outputs });
}

async function deliver(account: string, job: string, { name, content_type, bytes }: WorkerOutput): Promise<unknown> {
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
  const common = {
    name,
    node_id: '2',
    class_type: 'SaveImage',
    content_type,
    size_bytes: bytes.length,
    sha256,
    temp: false,
  };
  if (content_type.startsWith('text/plain') && bytes.length <= MAX_INLINE_TEXT_BYTES) {
    return { ...common, type: 'text', key: null, text: new TextDecoder().decode(bytes) };
  }
  const key = outputKey(account, job, 1, name);
  // The gateway decides what type a worker's upload has (services/worker/uploads.ts).
  await env.BUCKET.put(key, bytes, { httpMetadata: { contentType: storedTypeOf(content_type) } });
  return { ...common, type: 'image', key };
}
