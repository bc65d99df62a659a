import { describe, expect, it } from 'vitest';
import { answerRunpod, newClient, PNG, problemOf, submitted, type Call } from '../../../testing/gateway.ts';
import { frozenClock, runAlarm, harnessOf, drained } from '../../../testing/job.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { workerCall } from '../../../testing/worker-calls.ts';
import { jobPendingSchema, jobResultSchema } from '../schemas.ts';

const resultOf = (call: Call, url: string, query = '') => call(`${url}${query}`);

describe('the result of a job', () => {
  it('has its outputs after it has succeeded', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const { id, urls } = await submitted(call, { metadata: { order: '7' } });
    await runAsWorker(account, id, [{ name: 'a.png', content_type: 'image/png', bytes: PNG }]);
    const answer = await resultOf(call, urls.result);
    expect(answer.status).toBe(200);
    const result = jobResultSchema.parse(await answer.json());
    expect(result).toMatchObject({ id, status: 'succeeded', metadata: { order: '7' }, outputs: [{ name: 'a.png' }] });
    const file = await call(result.outputs[0]?.url ?? '');
    expect(new Uint8Array(await file.arrayBuffer())).toEqual(PNG);
  });

  it('is 202 without outputs and with a Retry-After while it runs', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id, urls } = await submitted(call);
    const answer = await resultOf(call, urls.result);
    expect(answer.status).toBe(202);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(answer.headers.get('location')).toBe(urls.self);
    const body: unknown = await answer.json();
    expect(jobPendingSchema.parse(body)).toMatchObject({ id, status: 'queued', stage: 'capacity' });
    expect(body).not.toHaveProperty('outputs');
  });

  it('waits for the end of the job with ?wait', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const { id, urls } = await submitted(call);
    const waiting = resultOf(call, urls.result, '?wait=60');
    await call(`/v1/jobs/${id}`);
    await runAsWorker(account, id, []);
    expect((await waiting).status).toBe(200);
  });

  it.each(['-1', '61', 'x'])('refuses to wait %s seconds', async (wait) => {
    const { call } = await newClient();
    const answer = await call(`/v1/jobs/0192f0c1-0000-7000-8000-000000000000/result?wait=${wait}`);
    expect(await problemOf(answer)).toMatchObject({ status: 400, code: 'invalid_parameter' });
  });
});

describe('the result of a job that did not succeed', () => {
  it('is a problem with the error of a failed job', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id, urls } = await submitted(call);
    await drained(harnessOf(id));
    const claim = crypto.randomUUID();
    await workerCall(id, 'claim', { attempt: 1, claim, worker: { id: 'w1', version: 'test' } });
    const error = { code: 'execution_error', message: 'The node failed.', at: 'workflow', retryable: false };
    await workerCall(id, 'complete', { attempt: 1, claim, last_seq: 0, outcome: 'failed', error });
    expect(await problemOf(await resultOf(call, urls.result))).toMatchObject({
      status: 410,
      code: 'job_failed',
      detail: 'The node failed.',
      job: {
        id,
        status: 'failed',
        error: { code: 'execution_error', at: 'workflow', attempt: 1, upstream_id: expect.stringMatching(/^run-/) },
      },
    });
  });

  it('is a problem for a canceled job', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id, urls } = await submitted(call);
    await call(urls.cancel, { method: 'POST' });
    expect(await problemOf(await resultOf(call, urls.result))).toMatchObject({
      status: 410,
      code: 'job_canceled',
      job: { id, status: 'canceled', error: null },
    });
  });

  it('is a problem for an expired job', async () => {
    answerRunpod();
    const clock = frozenClock();
    const { call } = await newClient();
    const { id, urls } = await submitted(call, { start_within: 30 });
    await drained(harnessOf(id));
    clock.pass(30_000);
    await runAlarm(harnessOf(id));
    expect(await problemOf(await resultOf(call, urls.result))).toMatchObject({ status: 410, code: 'job_expired' });
  });
});
