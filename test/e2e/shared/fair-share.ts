import { randomUUID } from 'node:crypto';
import { describe, test } from 'vitest';
import { z } from 'zod';
import { ComfyEdge } from '../../../clients/sdk/index.ts';
import { ended, quickGraph } from '../platform.ts';
import { platform } from './stack.ts';

/** Jobs of an account that run at once; the others wait in the account's own queue. */
const JOBS_IN_FLIGHT = 2;
const QUEUED = 40;

/** A new account with these limits. */
async function newAccount(limits: Record<string, number>): Promise<ComfyEdge> {
  const account = `fair-${randomUUID()}`;
  const asOperator = async (method: string, path: string, body: unknown): Promise<unknown> => {
    const answer = await platform.fetch(`${platform.url}/v1/${path}`, {
      method,
      headers: { authorization: `Bearer ${platform.adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return answer.json();
  };
  const made = await asOperator('POST', 'keys', { account, environment: 'test' });
  await asOperator('PUT', `accounts/${account}/limits`, limits);
  return new ComfyEdge({
    url: platform.url,
    key: z.object({ key: z.string() }).parse(made).key,
    fetch: platform.fetch,
  });
}

describe('an account with a long queue', () => {
  test('delays another account only by its JOBS_IN_FLIGHT jobs', async ({ expect }) => {
    const busy = await newAccount({ jobs_in_flight: JOBS_IN_FLIGHT, max_queued: QUEUED });
    const other = await newAccount({});
    const submittedJobs = await Promise.all(
      Array.from({ length: JOBS_IN_FLIGHT + QUEUED }, () => busy.jobs.submit({ workflow: quickGraph })),
    );
    const job = await other.jobs.submit({ workflow: quickGraph });
    expect((await ended(other, job.id)).status).toBe('succeeded');

    const submitted = Date.parse(job.created_at);
    const seen = await Promise.all(submittedJobs.map(({ id }) => busy.jobs.get(id)));
    const startedInBetween = seen.filter(
      ({ started_at }) => typeof started_at === 'string' && Date.parse(started_at) > submitted,
    );
    // The jobs already at RunPod, and the next one, which starts when the running job ends.
    expect(startedInBetween.length).toBeLessThanOrEqual(JOBS_IN_FLIGHT + 1);
    expect(seen.filter(({ stage }) => stage === 'admission').length).toBeGreaterThan(QUEUED / 2);
    await Promise.all(submittedJobs.map(({ id }) => busy.jobs.cancel(id)));
  });
});
