import { describe, expect, it, vi } from 'vitest';
import { answerRunpod, newClient, problemOf, storedOf, submitted } from '../../../testing/gateway.ts';

describe('erasing a job', () => {
  it('removes the job, its events, its outputs and its list entry', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const { id } = await submitted(call);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect((await call(`/v1/jobs/${id}`, { method: 'DELETE' })).status).toBe(204);

    const missing = await problemOf(await call('/v1/jobs/0192f0c1-0000-7000-8000-000000000000'));
    for (const path of ['', '/events', '/outputs/x.png']) {
      const gone = await problemOf(await call(`/v1/jobs/${id}${path}`));
      expect({ ...gone, request_id: '' }).toEqual({ ...missing, request_id: '' });
    }
    // The erasure waits for reports about the job that are in progress.
    await vi.waitFor(async () => expect(await storedOf(account)).toEqual({ jobs: 0, objects: 0 }));
    expect((await call(`/v1/jobs/${id}`, { method: 'DELETE' })).status).toBe(404);
  });

  it('refuses a job that has not finished', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    expect(await problemOf(await call(`/v1/jobs/${id}`, { method: 'DELETE' }))).toMatchObject({
      status: 409,
      code: 'job_not_finished',
    });
    expect((await call(`/v1/jobs/${id}`)).status).toBe(200);
  });

  it('refuses a job of another account', async () => {
    answerRunpod();
    const { call } = await newClient();
    const stranger = await newClient();
    const { id } = await submitted(call);
    await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect((await stranger.call(`/v1/jobs/${id}`, { method: 'DELETE' })).status).toBe(404);
    expect((await call(`/v1/jobs/${id}`)).status).toBe(200);
  });
});
