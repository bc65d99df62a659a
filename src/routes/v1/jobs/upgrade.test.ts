import { abortAllDurableObjects } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { answerRunpod, newClient } from '../../../testing/gateway.ts';
import { harnessOf, drained } from '../../../testing/job.ts';
import { OLD_CLAIM, storedByRelease01 } from '../../../testing/release-0.1.ts';
import { renderJob } from '../render.ts';
import { jobSchema } from '../schemas.ts';

/**
 * Guards upgrades: a job stored by an earlier release, with a worker at work, is read, canceled and finished by this
 * one.
 */

describe('a job that release 0.1.0 stored', () => {
  it('is read, continues and ends under this gateway', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const id = await storedByRelease01(account, Date.now());
    // The new gateway starts with only the stored state.
    await abortAllDurableObjects();

    const before = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
    expect(before).toMatchObject({ status: 'running', stage: 'inputs', metadata: { shot: '7' } });
    const { stub } = harnessOf(id);
    const first = await stub.initialView(account);
    if (first === null) {
      throw new Error('the first answer is gone');
    }
    expect(jobSchema.parse(renderJob(first, 'https://gateway.test')).status).toBe('queued');

    // A worker that asks again for its claim hears what older clients had no word for.
    const again = await stub.claim({ attempt: 1, claim: OLD_CLAIM, worker: { id: 'w1', version: '0.1.0' } });
    expect(again).toMatchObject({ granted: { options: { metadata: true } } });
    const report = {
      attempt: 1,
      claim: OLD_CLAIM,
      last_seq: 0,
      outcome: 'succeeded' as const,
      outputs: [],
      timings: {},
      usage: {},
    };
    expect(await stub.complete(report)).toEqual({ stored: 'succeeded' });
    const after = jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
    expect(after.status).toBe('succeeded');
    expect(after.usage?.cost_usd).toBeGreaterThanOrEqual(0);
    // What 0.1.0 had left to do is done too.
    await drained(harnessOf(id));
  });

  it('is canceled under this gateway', async () => {
    const runpod = answerRunpod();
    const { account, call } = await newClient();
    const id = await storedByRelease01(account, Date.now());
    await abortAllDurableObjects();
    const canceled = await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect(jobSchema.parse(await canceled.json()).status).toBe('canceling');
    expect(runpod.calls.some((url) => url.endsWith('/run'))).toBe(false);
  });
});
