import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { type Platform, eventsOf, quickGraph, slowGraph, startPlatform } from './platform.ts';

const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-warm-up-'));
let platform: Platform;
beforeAll(async () => {
  // No worker before the first job, and a start that takes more than three polls of RunPod.
  const warmUp = join(folder, 'warm-up.json');
  writeFileSync(warmUp, JSON.stringify(slowGraph(3)));
  platform = await startPlatform({ workers: { min: 0, max: 1 }, workerEnv: { WARMUP_WORKFLOW: warmUp } });
});
afterAll(async () => {
  await platform.stop();
  rmSync(folder, { recursive: true });
});

describe('the event stream of a cold start', () => {
  test('shows stage cold_start before executing, and the job reports cold_start_ms', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: quickGraph });
    const events = await eventsOf(edge, job.id);
    const stages = events.flatMap((event) => (event.event === 'status' ? [event.data.stage] : []));
    expect(stages).toContain('cold_start');
    expect(stages.indexOf('cold_start')).toBeLessThan(stages.indexOf('executing'));
    const done = await edge.jobs.get(job.id);
    expect(done.status).toBe('succeeded');
    expect(done.metrics.cold_start_ms).toBeGreaterThan(0);
    expect(done.attempts[0]?.environment).toMatchObject({ worker_version: '0.1.0', models: [] });
  });
});
