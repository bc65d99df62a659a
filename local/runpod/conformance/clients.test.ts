import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import runpodSdk from 'runpod-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningRunpod, startRunpod } from '../index.ts';
import { newNotes, PYTHON, realWorkers } from './real-workers.ts';

const STEP_MS = 30_000;

const notes = newNotes();
let runpod: RunningRunpod;

beforeAll(async () => {
  runpod = await startRunpod(
    realWorkers(notes, {
      plain: { workers: { max: 2 } },
      streaming: { generator: true },
      nobody: { workers: { max: 0 } },
    }),
  );
});

afterAll(async () => {
  await runpod.close();
  notes.remove();
});

function endpoint(id: string) {
  const found = runpodSdk('test-key', { baseUrl: `${runpod.url}/v2` }).endpoint(id);
  if (found === null) {
    throw new Error('runpod-sdk knows no endpoint without an id');
  }
  return found;
}

describe('npm runpod-sdk 1.1.2', () => {
  it('runs a job and reads it until it is done', async () => {
    const plain = endpoint('plain');
    const { id, status } = await plain.run({ input: { do: 'echo', value: 1 } });
    expect(status).toBe('IN_QUEUE');
    await runpod.events.wait({ after: 0, type: 'job_finished', job: id }, STEP_MS);
    expect(await plain.status(id)).toMatchObject({
      id,
      status: 'COMPLETED',
      output: { echo: 1 },
      started: true,
      completed: true,
      succeeded: true,
    });
  });

  it('runs a job synchronously', async () => {
    expect(await endpoint('plain').runSync({ input: { do: 'echo', value: 2 } }, STEP_MS)).toMatchObject({
      status: 'COMPLETED',
      output: { echo: 2 },
      succeeded: true,
    });
  });

  it('reads a failed job as completed and not succeeded', async () => {
    expect(await endpoint('plain').runSync({ input: { do: 'error' } }, STEP_MS)).toMatchObject({
      status: 'FAILED',
      error: 'it went wrong',
      completed: true,
      succeeded: false,
    });
  });

  it('streams what a generator yields', async () => {
    const streaming = endpoint('streaming');
    const { id } = await streaming.run({ input: { count: 3 } });
    const parts: unknown[] = [];
    for await (const part of streaming.stream(id, STEP_MS)) {
      parts.push(part);
    }
    expect(parts).toEqual([0, 1, 2].map((part) => ({ output: { part } })));
  });

  it('cancels, purges and reads health', async () => {
    const nobody = endpoint('nobody');
    const { id } = await nobody.run({ input: {} });
    expect(await nobody.cancel(id)).toEqual({ id, status: 'CANCELLED' });
    await nobody.run({ input: {} });
    expect(await nobody.health()).toMatchObject({ jobs: { inQueue: 1 }, workers: { idle: 0, throttled: 0 } });
    expect(await nobody.purgeQueue()).toEqual({ removed: 1, status: 'completed' });
  });
});

describe('PyPI runpod 1.12.0', () => {
  it('runs, reads, streams, cancels, purges and reads health, over requests and aiohttp', async () => {
    const script = resolve(import.meta.dirname, '../test-worker/client.py');
    const { stdout } = await promisify(execFile)(PYTHON, [script, 'plain', 'streaming'], {
      env: { ...process.env, RUNPOD_ENDPOINT_BASE_URL: `${runpod.url}/v2`, RUNPOD_API_KEY: 'test-key' },
      timeout: 2 * STEP_MS,
    });
    expect(JSON.parse(stdout)).toEqual({
      requests: {
        echo: 1,
        echo_status: 'COMPLETED',
        failed: { detail: 7 },
        failed_status: 'FAILED',
        run_sync: 2,
        cancel: 'CANCELLED',
        cancelled_status: 'CANCELLED',
        health: ['jobs', 'workers'],
        purged: { removed: 0, status: 'completed' },
        stream: [{ part: 0 }, { part: 1 }, { part: 2 }],
      },
      aiohttp: { echo: 3, stream: [{ part: 0 }, { part: 1 }], health: ['jobs', 'workers'] },
      wrong_key: expect.stringContaining('401 Unauthorized'),
    });
  });
});
