import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import type { NewJob } from '../../../contract/new-job.ts';
import {
  answerRunpod,
  GRAPH,
  newClient,
  ORIGIN,
  ownGateway,
  PNG,
  postJson,
  problemOf,
  type Call,
} from '../../../testing/gateway.ts';
import { newId } from '../../../testing/job.ts';
import { jobSchema } from '../schemas.ts';

const send = (call: Call, key: string, body: unknown = { workflow: GRAPH }) =>
  call('/v1/jobs', {
    ...postJson(body),
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
  });

/** A new account and key, with a record of the requests to RunPod. */
async function fresh() {
  const runpod = answerRunpod();
  const client = await newClient();
  return { ...client, runpod };
}

const jobsOf = async (account: string): Promise<string[]> => {
  const { results } = await env.DB.prepare('SELECT id FROM jobs WHERE account = ?').bind(account).all<{ id: string }>();
  return results.map(({ id }) => id);
};

describe('a repeated submit', () => {
  it('gets the same response byte for byte in every state of the job, and runs nothing', async () => {
    const { call, runpod } = await fresh();
    const first = await send(call, 'k');
    expect(first.status).toBe(201);
    expect(first.headers.has('idempotent-replayed')).toBe(false);
    const text = await first.text();
    const { id } = jobSchema.parse(JSON.parse(text));
    await vi.waitFor(() => expect(runpod.runs).toContain(id));
    await (await call(`/v1/jobs/${id}/cancel`, { method: 'POST' })).text();
    const again = await send(call, '"k"');
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(await again.text()).toBe(text);
    expect(runpod.runs.filter((job) => job === id)).toHaveLength(1);
  });

  it('makes one job and one run of 50 concurrent submits, and tells the others to retry', async () => {
    const { account, call, runpod } = await fresh();
    const answers = await Promise.all(Array.from({ length: 50 }, () => send(call, 'burst')));
    expect(new Set(answers.map(({ status }) => status)).difference(new Set([201, 409]))).toEqual(new Set());
    const taken = answers.filter(({ status }) => status === 201);
    const ids = new Set(await Promise.all(taken.map(async (each) => jobSchema.parse(await each.json()).id)));
    expect(ids.size).toBe(1);
    const last = await send(call, 'burst');
    expect(ids).toContain(jobSchema.parse(await last.json()).id);
    await vi.waitFor(async () => expect(await jobsOf(account)).toHaveLength(1));
    await vi.waitFor(() => expect(runpod.runs.filter((job) => ids.has(job))).toHaveLength(1));
  });

  it('gets 409 and Retry-After while the first request is in progress', async () => {
    const { account, call } = await fresh();
    const body = JSON.stringify({ workflow: GRAPH });
    const request = new TextEncoder().encode(`POST /v1/jobs\n${body}`);
    const fingerprint = new Uint8Array(await crypto.subtle.digest('SHA-256', request)).toHex();
    await env.ACCOUNT.getByName(account).admit({
      job: newId(),
      account,
      inputs: [],
      retention: null,
      key: 'other',
      priority: 'normal',
      expires_at: Date.now() + 60_000,
      reserve: { gpu_ms: 1, micro_usd: null },
      idempotency: { key: 'k', fingerprint },
    });
    const answer = await send(call, 'k');
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.headers.get('x-should-retry')).toBe('true');
    expect(await problemOf(answer)).toMatchObject({ status: 409, code: 'idempotency_in_flight' });
  });

  it('finds its job when the first response was lost', async () => {
    const { account, call, runpod } = await fresh();
    // The response is lost, so the client's SDK sends the request again.
    await (await send(call, 'lost')).body?.cancel();
    const retried = jobSchema.parse(await (await send(call, 'lost')).json());
    await vi.waitFor(async () => expect(await jobsOf(account)).toEqual([retried.id]));
    await vi.waitFor(() => expect(runpod.runs.filter((job) => job === retried.id)).toHaveLength(1));
  });

  it('is refused when any byte of the method, the path or the body differs', async () => {
    const { call } = await fresh();
    await send(call, 'k');
    const other = await send(call, 'k', { workflow: GRAPH, metadata: { a: 'b' } });
    expect(await problemOf(other)).toMatchObject({ status: 422, code: 'idempotency_key_reuse' });
  });

  it('is refused for its key before the body is validated', async () => {
    const { call } = await fresh();
    await send(call, 'k');
    const other = await send(call, 'k', { workflow: {} });
    expect(await problemOf(other)).toMatchObject({ status: 422, code: 'idempotency_key_reuse' });
  });

  it('does not find a job of another account', async () => {
    const { call } = await fresh();
    const stranger = await newClient();
    const mine = jobSchema.parse(await (await send(call, 'k')).json());
    const theirs = await send(stranger.call, 'k', { workflow: GRAPH, metadata: { a: 'b' } });
    expect(theirs.status).toBe(201);
    expect(theirs.headers.has('idempotent-replayed')).toBe(false);
    expect(jobSchema.parse(await theirs.json()).id).not.toBe(mine.id);
  });

  it('consumes no quota', async () => {
    const { call } = await fresh();
    const first = await send(call, 'k');
    const again = await send(call, 'k');
    expect(first.headers.get('ratelimit')).toMatch(/^"submits";r=119;t=\d+/);
    expect(again.headers.get('ratelimit')).toMatch(/^"submits";r=119;t=\d+/);
  });

  it('gets the first response even when it would be refused now', async () => {
    const { account, call } = await fresh();
    const upload = await (await call('/v1/assets', { method: 'POST', body: PNG })).json<{ id: string }>();
    const body = { workflow: GRAPH, inputs: [{ name: 'a.png', asset: upload.id }] };
    const first = await (await send(call, 'k', body)).text();
    await env.BUCKET.delete(`assets/${account}/${upload.id.slice('sha256:'.length)}`);
    const again = await send(call, 'k', body);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(await again.text()).toBe(first);
  });
});

describe('an idempotency key', () => {
  it.each(['', '""', 'a'.repeat(256), `"${'a'.repeat(256)}"`, 'a"b', '"a', 'a\tb', '"a\\b"'])(
    'is refused as %j before any other check',
    async (key) => {
      const { call } = await fresh();
      expect(await problemOf(await send(call, key))).toMatchObject({ status: 400, code: 'invalid_idempotency_key' });
    },
  );

  it('may have 255 characters', async () => {
    const { call } = await fresh();
    expect((await send(call, 'a'.repeat(255))).status).toBe(201);
  });

  it('is free after an invalid request and after a refused one', async () => {
    const { account, call } = await fresh();
    expect((await send(call, 'k', { workflow: {} })).status).toBe(422);
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 1, max_queued: 0, submits_per_minute: 0 });
    expect((await send(call, 'k', { workflow: GRAPH, metadata: { a: 'b' } })).status).toBe(429);
    await env.ACCOUNT.getByName(account).setLimits({});
    expect((await send(call, 'k')).status).toBe(201);
  });

  const failing = (JOB: object) => ({
    ...env,
    JOB: Object.assign(Object.create(env.JOB) as typeof env.JOB, { getByName: () => JOB }),
  });
  const post = (key: string, body: unknown): Request =>
    new Request(`${ORIGIN}/v1/jobs`, {
      ...postJson(body),
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': 'k' },
    });

  it('is free after a failure before the job was created', async () => {
    const { key, call } = await fresh();
    const app = ownGateway();
    const BUCKET = Object.assign(Object.create(env.BUCKET) as typeof env.BUCKET, {
      head: () => Promise.reject(new Error('no bucket today')),
    });
    const body = { workflow: GRAPH, inputs: [{ name: 'a.png', data: PNG.toBase64() }] };
    expect((await app.fetch(post(key, body), { ...env, BUCKET })).status).toBe(500);
    const other = await send(call, 'k');
    expect(other.status).toBe(201);
    expect(other.headers.has('idempotent-replayed')).toBe(false);
  });

  it('finds the job when the gateway crashed after creating it', async () => {
    const { account, key, call, runpod } = await fresh();
    const app = ownGateway();
    let made = '';
    const cut = failing({
      create: async (job: NewJob) => {
        made = job.id;
        await env.JOB.getByName(job.id).create(job);
        throw new Error('the answer was lost');
      },
    });
    expect((await app.fetch(post(key, { workflow: GRAPH }), cut)).status).toBe(500);
    const again = await send(call, 'k');
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(jobSchema.parse(await again.json()).id).toBe(made);
    await vi.waitFor(async () => expect(await jobsOf(account)).toEqual([made]));
    await vi.waitFor(() => expect(runpod.runs.filter((job) => job === made)).toHaveLength(1));
  });

  it('creates the job with its reserved id when the gateway crashed before', async () => {
    const { key, call } = await fresh();
    const app = ownGateway();
    let promised = '';
    const cut = failing({
      create: (job: { id: string }) => {
        promised = job.id;
        return Promise.reject(new Error('no object today'));
      },
    });
    expect((await app.fetch(post(key, { workflow: GRAPH }), cut)).status).toBe(500);
    const again = await send(call, 'k');
    expect(again.status).toBe(201);
    expect(jobSchema.parse(await again.json()).id).toBe(promised);
  });

  it('is stored with a hash of the request, not with the request', async () => {
    const { account, call } = await fresh();
    await send(call, 'k', { workflow: GRAPH, metadata: { secret: 'do-not-keep' } });
    const rows = await runInDurableObject(env.ACCOUNT.getByName(account), (_, state) =>
      JSON.stringify(state.storage.sql.exec('SELECT * FROM idempotency_keys').toArray()),
    );
    expect(rows).toMatch(/"fingerprint":"[0-9a-f]{64}"/);
    expect(rows).not.toContain('do-not-keep');
  });
});
