import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { requireConfig } from '../../config/schema.ts';
import { WORKER_REPORTS, WORKERS } from '../../contract/run.ts';
import { fakeRunpod } from '../../testing/job.ts';
import type { RunRequest } from './provider.ts';
import { gpuProvider } from './providers.ts';

const NOW = 1_800_000_000_000;
const run = (over: Partial<RunRequest> = {}): RunRequest => ({
  endpoint: 'ep',
  account: 'acc',
  job: '01930000-0000-7000-8000-000000000000',
  attempt: 1,
  now: NOW,
  deadline: NOW + 60_000,
  spec: () => ({ workflow: '{}', inputs: [] }),
  confirm: () => true,
  ...over,
});

describe.each(WORKERS)('the provider of %s', (worker) => {
  const provider = gpuProvider(worker, { config: requireConfig(env), bucket: env.BUCKET, clock: () => NOW });

  it('calls /run once, after confirm returned true', async () => {
    const runpod = fakeRunpod();
    const callsBefore: number[] = [];
    const confirm = () => {
      callsBefore.push(runpod.count('run'));
      return true;
    };
    expect(await provider.submit(run({ confirm }))).toEqual({ kind: 'accepted', run_id: 'run-1' });
    expect(callsBefore).toEqual([0]);
    expect(runpod.count('run')).toBe(1);
  });

  it('does not call /run when confirm returns false', async () => {
    const runpod = fakeRunpod();
    expect(await provider.submit(run({ confirm: () => false }))).toEqual({ kind: 'withdrawn' });
    expect(runpod.calls).toEqual([]);
  });

  it('does not retry /run when its outcome is unknown', async () => {
    const runpod = fakeRunpod();
    runpod.answer.run = () => new Response('{}', { status: 500 });
    expect(await provider.submit(run())).toEqual({ kind: 'unknown' });
    expect(runpod.count('run')).toBe(1);
  });

  it('returns details of a run only if its workers do not report', async () => {
    const runpod = fakeRunpod();
    runpod.answer.status = () => Response.json({ id: 'run', status: 'IN_PROGRESS', workerId: 'w1', delayTime: 5 });
    const { status, news } = await provider.status({ endpoint: 'ep', run_id: 'run' });
    expect(status).toBe('running');
    expect(news === undefined).toBe(WORKER_REPORTS[worker]);
  });

  it('treats a run that RunPod does not know as canceled', async () => {
    const runpod = fakeRunpod();
    runpod.answer.cancel = () => new Response('{}', { status: 404 });
    expect(await provider.cancel({ endpoint: 'ep', run_id: 'run' })).toBe('done');
  });
});
