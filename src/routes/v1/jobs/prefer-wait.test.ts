import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { waitForJob } from '../../../services/jobs/wait.ts';
import { requireConfig } from '../../../config/schema.ts';
import { systemClock } from '../../../lib/clock.ts';
import { randomSeed } from '../../../lib/seeds.ts';
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
import { newId } from '../../../testing/job.ts';
import { madeKey, ownApp } from '../../../testing/keys.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobPageSchema, jobSchema } from '../schemas.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

const submit = (call: Call, headers: Record<string, string>, body: unknown = { workflow: GRAPH }) =>
  call('/v1/jobs', { ...postJson(body), headers: { ...JSON_TYPE, ...headers } });

/** The account's only job, once the list has it. */
const onlyJob = (call: Call): Promise<string> =>
  vi.waitFor(async () => {
    const { data } = jobPageSchema.parse(await (await call('/v1/jobs')).json());
    expect(data).toHaveLength(1);
    return data[0]?.id ?? '';
  });

/** How many watch a job. */
const watchers = (id: string): Promise<number> =>
  runInDurableObject(env.JOB.getByName(id), (_job, state) => state.getWebSockets('watch').length);
const watched = (id: string, count: number) => vi.waitFor(async () => expect(await watchers(id)).toBe(count));

describe('a submit that prefers to wait', () => {
  it('returns the finished job, its outputs and the applied wait', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const waiting = submit(call, { prefer: 'respond-async, wait="60"' });
    const id = await onlyJob(call);
    await watched(id, 1);
    await runAsWorker(account, id, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
    const answer = await waiting;
    expect(answer.status).toBe(201);
    expect(answer.headers.get('preference-applied')).toBe('wait=60');
    const job = jobSchema.parse(await answer.json());
    expect(job).toMatchObject({ id, status: 'succeeded', outputs: [{ name: 'a.png' }] });
    expect(answer.headers.get('location')).toBe(job.urls.self);
  });

  it('returns the current job when the time is up', async () => {
    answerRunpod();
    const { call } = await newClient();
    const answer = await submit(call, { prefer: 'wait=1' });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('preference-applied')).toBe('wait=1');
    expect(jobSchema.parse(await answer.json())).toMatchObject({ status: 'queued', outputs: [], error: null });
  });

  it('waits at most a minute', async () => {
    answerRunpod();
    const { call } = await newClient();
    const waiting = submit(call, { prefer: 'wait=86400' });
    const id = await onlyJob(call);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    const answer = await waiting;
    expect(answer.headers.get('preference-applied')).toBe('wait=60');
    expect(jobSchema.parse(await answer.json()).status).toBe('canceled');
  });

  it.each(['wait', 'wait=ten', 'respond-async', 'wait=-1', 'wait="'])(
    'is answered at once for %j, which is not a wait',
    async (prefer) => {
      answerRunpod();
      const { call } = await newClient();
      const answer = await submit(call, { prefer });
      expect(answer.status).toBe(201);
      expect(answer.headers.has('preference-applied')).toBe(false);
    },
  );

  it('is refused like any other, without waiting', async () => {
    const { call } = await newClient();
    const answer = await submit(call, { prefer: 'wait=60' }, { workflow: {} });
    expect(answer.headers.has('preference-applied')).toBe(false);
    expect(await problemOf(answer)).toMatchObject({ status: 422, code: 'workflow_empty' });
  });

  it('waits for the same job when it is repeated with its Idempotency-Key', async () => {
    const { runs } = answerRunpod();
    const { account, call } = await newClient();
    const headers = { prefer: 'wait=60', 'idempotency-key': 'k' };
    const first = submit(call, headers);
    const id = await onlyJob(call);
    await watched(id, 1);
    const again = submit(call, headers);
    await watched(id, 2);
    await runAsWorker(account, id, []);
    const answers = await Promise.all([first, again]);
    expect(answers.map((each) => [each.status, each.headers.get('idempotent-replayed')])).toEqual([
      [201, null],
      [201, 'true'],
    ]);
    for (const answer of answers) {
      expect(jobSchema.parse(await answer.json())).toMatchObject({ id, status: 'succeeded' });
    }
    expect(runs.filter((job) => job === id)).toHaveLength(1);
    // Without the preference it is answered as the first submit was before it waited.
    const bare = await submit(call, { 'idempotency-key': 'k' });
    expect(jobSchema.parse(await bare.json())).toMatchObject({ id, status: 'queued' });
  });

  it('returns only the accepted job when its key was revoked meanwhile', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const ending = await madeKey(account);
    let now = Date.now();
    const waiting = submit(ownApp({ clock: () => now })(ending.key), { prefer: 'wait=60' });
    const id = await onlyJob(call);
    await watched(id, 1);
    await (await call(`/v1/keys/${ending.id}`, { method: 'DELETE' })).text();
    now += 30_000;
    await runAsWorker(account, id, [{ name: 'secret.png', content_type: 'image/png', bytes: PNG }]);
    const answer = await waiting;
    expect(answer.status).toBe(201);
    expect(jobSchema.parse(await answer.json())).toMatchObject({ id, status: 'queued', outputs: [] });
  });

  it('does not cancel its job when the client leaves, and removes its watcher', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const job = await submitted(call);
    const leaving = new AbortController();
    const context = { env, config: requireConfig(env), clock: systemClock, newId, newSeed: randomSeed };
    const caller = { account, key: 'k', environment: 'test', endpoints: null, templates: null, nodes: null } as const;
    const waiting = waitForJob(context, caller, job.id, { until: 'finished' }, 60, leaving.signal);
    await watched(job.id, 1);
    leaving.abort();
    expect(await waiting).toMatchObject({ ok: true, value: { status: 'queued' } });
    await watched(job.id, 0);
    // One who has left before the waiting began does not wait either.
    expect(await waitForJob(context, caller, job.id, { until: 'finished' }, 60, leaving.signal)).toMatchObject({
      ok: true,
    });
    await watched(job.id, 0);
    expect(jobSchema.parse(await (await call(`/v1/jobs/${job.id}`)).json()).status).toBe('queued');
  });
});
