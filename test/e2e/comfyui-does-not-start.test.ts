import { afterAll, beforeAll, describe, test } from 'vitest';
import { type Platform, ended, quickGraph, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  // ComfyUI does not know this flag: it prints an error and exits, as it does when a package is missing.
  platform = await startPlatform({ workerEnv: { COMFYUI_ARGS: '--no-such-flag' } });
});
afterAll(() => platform.stop());

describe('a ComfyUI that does not start', () => {
  test('fails the job with the end of its log after a second worker failed too', async ({ expect }) => {
    const { edge } = platform;
    const job = await ended(edge, (await edge.jobs.submit({ workflow: quickGraph })).id);
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'comfyui_unavailable', at: 'worker', retryable: true },
    });
    const { comfyui_log: log } = job.error?.details ?? {};
    expect(JSON.stringify(log)).toContain('--no-such-flag');
    expect(JSON.stringify(log)).not.toMatch(/\/(home|tmp|root|work|opt)\//);
    // The first worker asked RunPod to replace it: the second attempt ran on another machine.
    expect(job.attempts).toHaveLength(2);
    expect(new Set(job.attempts.map((attempt) => attempt.worker)).size).toBe(2);
  });
});
