import { describe, expect, it } from 'vitest';
import { answerRunpod, GRAPH, PNG, postJson, submitted, type Call } from '../../../testing/gateway.ts';
import { madeKey } from '../../../testing/keys.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema } from '../schemas.ts';

/**
 * A key that may submit and cancel but not read learns nothing of what jobs of its account hold and made, not even of
 * its own.
 */

const TEXT = new TextEncoder().encode('nobody but readers sees this');

const submit = (call: Call, headers: Record<string, string>) => {
  const init = postJson({ workflow: GRAPH, metadata: { customer: 'somebody' } });
  return call('/v1/jobs', { ...init, headers: { ...init.headers, ...headers } });
};

/** An account with two keys, of which one may not read, and a finished job that the other one submitted. */
async function finished(): Promise<{ reads: Call; writes: Call; job: string }> {
  answerRunpod();
  const account = `a${crypto.randomUUID()}`;
  const [{ call: reads }, { call: writes }] = await Promise.all([
    madeKey(account),
    madeKey(account, { scopes: ['jobs:write'] }),
  ]);
  const job = jobSchema.parse(await (await submit(reads, { 'idempotency-key': 'k' })).json()).id;
  await runAsWorker(account, job, [
    { name: 'a.png', content_type: 'image/png', bytes: PNG },
    { name: 't.txt', content_type: 'text/plain; charset=utf-8', bytes: TEXT },
  ]);
  return { reads, writes, job };
}

const WITHHELD = ['outputs', 'error', 'attempts', 'progress', 'metadata', 'resolved', 'usage'];

describe('a key without jobs:read', () => {
  it('gets the state of a job that it cancels, and not its content', async () => {
    const { reads, writes, job } = await finished();
    const answer = await writes(`/v1/jobs/${job}/cancel`, { method: 'POST' });
    expect(answer.status).toBe(200);
    const text = await answer.text();
    expect(text).not.toMatch(/nobody but readers|a\.png|X-Amz|somebody|w1/);
    expect(jobSchema.parse(JSON.parse(text))).toMatchObject({
      id: job,
      status: 'succeeded',
      outputs: [],
      attempts: [],
      metadata: {},
      truncated: WITHHELD,
    });
    // The same call with a key that may read is the whole job, as before.
    const whole = jobSchema.parse(await (await reads(`/v1/jobs/${job}/cancel`, { method: 'POST' })).json());
    expect(whole.outputs.map(({ name }) => name)).toEqual(['a.png', 't.txt']);
    expect(whole.truncated).toBeUndefined();
  });

  it('sees that its own job is canceled', async () => {
    answerRunpod();
    const { call } = await madeKey(`a${crypto.randomUUID()}`, { scopes: ['jobs:write'] });
    const { id } = await submitted(call);
    const answer = await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect(jobSchema.parse(await answer.json())).toMatchObject({ id, status: 'canceled' });
  });

  it('gets the first response when it repeats a submit of another key with Prefer: wait', async () => {
    const { reads, writes, job } = await finished();
    const answer = await submit(writes, { 'idempotency-key': 'k', prefer: 'wait=60' });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(answer.headers.has('preference-applied')).toBe(false);
    const seen = await answer.text();
    expect(jobSchema.parse(JSON.parse(seen))).toMatchObject({ id: job, status: 'queued', outputs: [] });
    expect(seen).toBe(await (await submit(reads, { 'idempotency-key': 'k' })).text());
  });

  it('is answered at once when it prefers to wait', async () => {
    answerRunpod();
    const { call } = await madeKey(`a${crypto.randomUUID()}`, { scopes: ['jobs:write'] });
    const answer = await submit(call, { prefer: 'wait=60' });
    expect(answer.headers.has('preference-applied')).toBe(false);
    const job = jobSchema.parse(await answer.json());
    expect(job).toMatchObject({ status: 'queued', outputs: [] });
  });
});
