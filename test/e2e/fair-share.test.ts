import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ComfyEdge } from '../../clients/sdk/index.ts';
import { ended, type Platform, quickGraph, startPlatform } from './platform.ts';

/** Jobs of an account that run at once; the others wait in the account's own queue. */
const JOBS_IN_FLIGHT = 2;
const QUEUED = 40;

let platform: Platform;
let other: ComfyEdge;

beforeAll(async () => {
  platform = await startPlatform({ limits: { jobs_in_flight: JOBS_IN_FLIGHT, max_queued: QUEUED } });
  const made = await fetch(`${platform.url}/v1/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ account: 'other', environment: 'test' }),
  });
  const { key } = (await made.json()) as { key: string };
  other = new ComfyEdge({ url: platform.url, key });
});

afterAll(async () => {
  await platform.stop();
});

describe('an account with a long queue', () => {
  test('delays another account only by its JOBS_IN_FLIGHT jobs', async () => {
    const submittedJobs = await Promise.all(
      Array.from({ length: JOBS_IN_FLIGHT + QUEUED }, () => platform.edge.jobs.submit({ workflow: quickGraph })),
    );
    const job = await other.jobs.submit({ workflow: quickGraph });
    expect((await ended(other, job.id)).status).toBe('succeeded');

    const submitted = Date.parse(job.created_at);
    const seen = await Promise.all(submittedJobs.map(({ id }) => platform.edge.jobs.get(id)));
    const startedInBetween = seen.filter(
      ({ started_at }) => typeof started_at === 'string' && Date.parse(started_at) > submitted,
    );
    // The jobs already at RunPod, and the next one, which starts when the running job ends.
    expect(startedInBetween.length).toBeLessThanOrEqual(JOBS_IN_FLIGHT + 1);
    expect(seen.filter(({ stage }) => stage === 'admission').length).toBeGreaterThan(QUEUED / 2);
  });
});
