import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { sweepUnfinishedJobs } from '../../../services/maintenance/sweep-jobs.ts';
import { answerRunpod, GRAPH, newClient, postJson, problemOf, submitted, type Call } from '../../../testing/gateway.ts';
import { frozenClock, runAlarm, harnessOf, drained } from '../../../testing/job.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobSchema, type ApiJob } from '../schemas.ts';

const read = async (call: Call, id: string): Promise<ApiJob> =>
  jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());

describe('a queue position', () => {
  it('is reported from the submit on for a job that waits for its account, and for no other', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 1 });
    const inWork = await submitted(call);
    const second = await submitted(call);
    const third = await submitted(call);
    expect([inWork, second, third].map(({ stage, queue_position }) => [stage, queue_position])).toEqual([
      ['capacity', null],
      ['admission', 1],
      ['admission', 2],
    ]);
    await call(`/v1/jobs/${second.id}/cancel`, { method: 'POST' });
    await vi.waitFor(async () => expect((await read(call, third.id)).queue_position).toBe(1));
    await call(`/v1/jobs/${inWork.id}/cancel`, { method: 'POST' });
    await vi.waitFor(async () =>
      expect(await read(call, third.id)).toMatchObject({ stage: 'capacity', queue_position: null }),
    );
  });

  it('is null when the account does not answer', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    await env.ACCOUNT.getByName(account).setLimits({ jobs_in_flight: 0 });
    const { id } = await submitted(call);
    const away = vi.spyOn(env.ACCOUNT, 'getByName').mockImplementation(() => {
      throw new Error('the account is away');
    });
    const job = await read(call, id);
    away.mockRestore();
    expect(job).toMatchObject({ status: 'queued', stage: 'admission', queue_position: null });
  });
});

describe('the run of a job', () => {
  it("is reported with RunPod's id and the time until the claim", async () => {
    answerRunpod();
    const clock = frozenClock();
    const { account, call } = await newClient();
    const { id } = await submitted(call);
    await drained(harnessOf(id));
    expect(await read(call, id)).toMatchObject({
      attempts: [{ number: 1, upstream_id: expect.stringMatching(/^run-\d+$/) }],
      metrics: { cold_start_ms: null, queue_ms: null },
    });
    clock.pass(7_000);
    await runAsWorker(account, id, []);
    expect((await read(call, id)).metrics).toMatchObject({ cold_start_ms: 7_000, queue_ms: 7_000 });
  });

  it('does not reveal the endpoint id or the host', async () => {
    const runpod = answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    await drained(harnessOf(id));
    const text = await (await call(`/v1/jobs/${id}`)).text();
    const [, , , version = '', endpoint = ''] = (runpod.calls[0] ?? '').split('/');
    expect([version, endpoint]).toEqual(['v2', expect.stringMatching(/./)]);
    expect(text).not.toContain(endpoint);
    expect(text).not.toContain('runpod');
  });
});

describe('start_within', () => {
  it('is returned as a separate deadline', async () => {
    answerRunpod();
    const { call } = await newClient();
    const job = await submitted(call, { start_within: 30, finish_within: 60 });
    expect(Date.parse(job.start_deadline ?? '') - Date.parse(job.created_at)).toBe(30_000);
    expect((await submitted(call)).start_deadline).toBeNull();
  });

  it('may be as long as finish_within, and not longer', async () => {
    answerRunpod();
    const { call } = await newClient();
    const job = await submitted(call, { start_within: 60, finish_within: 60 });
    expect(job.start_deadline).toBe(job.deadline);
    const over = await call('/v1/jobs', postJson({ workflow: GRAPH, start_within: 60.1, finish_within: 60 }));
    expect(await problemOf(over)).toMatchObject({ code: 'out_of_range', errors: [{ pointer: '#/start_within' }] });
    const usual = await call('/v1/jobs', postJson({ workflow: GRAPH, start_within: 901 }));
    expect(await problemOf(usual)).toMatchObject({ code: 'out_of_range', errors: [{ pointer: '#/start_within' }] });
  });

  it.each([0, -1, '5', null, true])('refuses %j', async (start_within) => {
    const { call } = await newClient();
    const answer = await call('/v1/jobs', postJson({ workflow: GRAPH, start_within }));
    expect(await problemOf(answer)).toMatchObject({ status: 422, errors: [{ pointer: '#/start_within' }] });
  });

  it('expires a job without a bill, by the alarm alone', async () => {
    answerRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    const { id } = await submitted(call, { start_within: 30 });
    await drained(harnessOf(id));
    clock.pass(29_999);
    expect((await read(call, id)).status).toBe('queued');
    clock.pass(1);
    await runAlarm(harnessOf(id));
    const job = await read(call, id);
    expect(job).toMatchObject({ status: 'expired', error: null, usage: { billed_seconds: 0 } });
    expect(Date.parse(job.completed_at ?? '')).toBe(Date.parse(job.start_deadline ?? ''));
  });

  it('is enforced by the sweep when the alarm was lost', async () => {
    answerRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    const { id } = await submitted(call, { start_within: 30, finish_within: 86_400 });
    await drained(harnessOf(id));
    clock.pass(30_000 + 120_001);
    await sweepUnfinishedJobs(env, Date.now(), () => {});
    expect((await read(call, id)).status).toBe('expired');
  });
});
