import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ComfyEdge } from '../../clients/sdk/index.ts';
import { ended, type Platform, quickGraph, startPlatform } from './platform.ts';

/** What an account may have in work; the rest of its jobs stand in its own line, and nobody else's. */
const JOBS_IN_FLIGHT = 2;
const LINE = 40;

let platform: Platform;
let other: ComfyEdge;

beforeAll(async () => {
  platform = await startPlatform({ limits: { jobs_in_flight: JOBS_IN_FLIGHT, max_queued: LINE } });
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

describe('an account with a long line', () => {
  test('holds up another account by what it has in work and no more', async () => {
    const line = await Promise.all(
      Array.from({ length: JOBS_IN_FLIGHT + LINE }, () => platform.edge.jobs.submit({ workflow: quickGraph })),
    );
    const job = await other.jobs.submit({ workflow: quickGraph });
    expect((await ended(other, job.id)).status).toBe('succeeded');

    const submitted = Date.parse(job.created_at);
    const seen = await Promise.all(line.map(({ id }) => platform.edge.jobs.get(id)));
    const startedInBetween = seen.filter(
      ({ started_at }) => typeof started_at === 'string' && Date.parse(started_at) > submitted,
    );
    // Those it had at RunPod already, and the one that takes the place of the one at work when that ends.
    expect(startedInBetween.length).toBeLessThanOrEqual(JOBS_IN_FLIGHT + 1);
    expect(seen.filter(({ stage }) => stage === 'admission').length).toBeGreaterThan(LINE / 2);
  });
});
