import { describe, expect, it } from 'vitest';
import { answerRunpod, newClient, problemOf, submitted } from '../../../testing/gateway.ts';
import { connected, dialChannel, harnessOf, claimAttempt, until } from '../../../testing/job.ts';
import { jobSchema } from '../schemas.ts';

describe('a second read of a job', () => {
  it('answers 304 without a change, and the whole job after one', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    const first = await call(`/v1/jobs/${id}`);
    const tag = first.headers.get('etag') ?? '';
    expect(tag).toMatch(/^W\/"\d+"$/);
    expect(first.headers.get('retry-after')).toBe('2');

    const same = await call(`/v1/jobs/${id}`, { headers: { 'if-none-match': tag } });
    expect(same.status).toBe(304);
    expect(same.headers.get('etag')).toBe(tag);
    expect(await same.text()).toBe('');

    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    const changed = await call(`/v1/jobs/${id}`, { headers: { 'if-none-match': tag } });
    expect(changed.status).toBe(200);
    expect(changed.headers.get('etag')).not.toBe(tag);
    expect(changed.headers.get('retry-after')).toBeNull();
  });
});

describe('progress', () => {
  it('changes the ETag, although it is not an event', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    const harness = harnessOf(id);
    const claim = crypto.randomUUID();
    await claimAttempt(harness, claim, 1);
    const channel = await connected(dialChannel(harness, 1, claim));
    await channel.next();
    const progress = (seq: number) => ({ seq, type: 'progress', value: seq / 10, nodes_done: 0, nodes_total: 1 });
    await channel.ask(progress(1));
    const first = await call(`/v1/jobs/${id}`);
    const tag = first.headers.get('etag') ?? '';
    expect((await call(`/v1/jobs/${id}`, { headers: { 'if-none-match': tag } })).status).toBe(304);
    channel.say(progress(2));
    await until(async () => {
      const next = await call(`/v1/jobs/${id}`, { headers: { 'if-none-match': tag } });
      expect(next.status).toBe(200);
      expect(jobSchema.parse(await next.json())).toMatchObject({
        progress: { value: 0.2 },
        last_event: jobSchema.parse(await first.clone().json()).last_event,
      });
    });
  });
});

describe('a long poll', () => {
  it('answers when the job has finished, not before', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    let answered = false;
    const waiting = call(`/v1/jobs/${id}?wait=60`).then((response) => {
      answered = true;
      return response;
    });
    // The poll is a watcher of the job by the time a second request has come and gone.
    await call(`/v1/jobs/${id}`);
    expect(answered).toBe(false);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect(jobSchema.parse(await (await waiting).json()).status).toBe('canceled');
  });

  it('answers after the first change with If-None-Match', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    const tag = (await call(`/v1/jobs/${id}`)).headers.get('etag') ?? '';
    const waiting = call(`/v1/jobs/${id}?wait=60`, { headers: { 'if-none-match': tag } });
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    const answer = await waiting;
    expect(answer.status).toBe(200);
    expect(answer.headers.get('etag')).not.toBe(tag);
  });

  it('answers at once for a finished job, and with the current job when the time is up', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    const early = await call(`/v1/jobs/${id}?wait=1`);
    expect(jobSchema.parse(await early.json()).status).toBe('queued');
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    const over = await call(`/v1/jobs/${id}?wait=60`);
    expect(jobSchema.parse(await over.json()).status).toBe('canceled');
  });

  it.each(['-1', '61', 'x', '1e9'])('refuses to wait %s', async (wait) => {
    const { call } = await newClient();
    const problem = await problemOf(await call(`/v1/jobs/0192f0c1-0000-7000-8000-000000000000?wait=${wait}`));
    expect(problem).toMatchObject({ status: 400, code: 'invalid_parameter' });
  });
});
