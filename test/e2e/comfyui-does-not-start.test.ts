import { afterAll, beforeAll, describe, test } from 'vitest';
import { type Platform, ended, quickGraph, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  // A flag that ComfyUI does not know: it prints what is wrong and leaves, as with a package that is missing.
  platform = await startPlatform({ workerEnv: { COMFYUI_ARGS: '--no-such-flag' } });
});
afterAll(() => platform.stop());

describe('a ComfyUI that does not start', () => {
  test('fails the job with its last lines, after another worker was tried', async ({ expect }) => {
    const { edge } = platform;
    const job = await ended(edge, (await edge.jobs.submit({ workflow: quickGraph })).id);
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'comfyui_unavailable', at: 'worker', retryable: true },
    });
    const { comfyui_log: log } = job.error?.details ?? {};
    expect(JSON.stringify(log)).toContain('--no-such-flag');
    expect(JSON.stringify(log)).not.toMatch(/\/(home|tmp|root|work|opt)\//);
    // RunPod was told to replace the first worker: the second attempt met a machine of its own.
    expect(job.attempts).toHaveLength(2);
    expect(new Set(job.attempts.map((attempt) => attempt.worker)).size).toBe(2);
  });
});
