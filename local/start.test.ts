import { expect, test } from 'vitest';
import { z } from 'zod';
import { descendants, type Launched, launched } from './stack/testing/launched.ts';

/** Programs of the platform are killed under `npm start`. */

const GRAPH = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};

const wordAfter = (line: string): string => line.trim().split(/\s+/).at(-1) ?? '';

/** Submits a job and waits for its end: its status. */
async function runJob({ line }: Launched): Promise<string> {
  const url = wordAfter(await line('  gateway '));
  const key = wordAfter(await line('  API key '));
  const answer = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', prefer: 'wait=60' },
    body: JSON.stringify({ workflow: GRAPH }),
  });
  return z.object({ status: z.string() }).parse(await answer.json()).status;
}

/** Kills programs below the launcher by what their command line holds; at least one must be there. */
function kill(run: Launched, part: string): void {
  const found = descendants(run.process.pid ?? 0, part);
  expect(found.length).toBeGreaterThan(0);
  for (const pid of found) {
    process.kill(pid, 'SIGKILL');
  }
}

test('npm start restarts the gateway when both workerd are killed', { timeout: 180_000 }, async () => {
  const run = await launched('local/start.ts');
  await run.line('comfy-edge is up');
  expect(await runJob(run)).toBe('succeeded');
  kill(run, '/bin/workerd ');
  await run.line('The gateway does not answer. Starting it again.');
  await run.line('The gateway is up again.');
  expect(await runJob(run)).toBe('succeeded');
});

test('npm start continues after its worker and its ComfyUI are killed', { timeout: 180_000 }, async () => {
  const run = await launched('local/start.ts');
  await run.line('comfy-edge is up');
  expect(await runJob(run)).toBe('succeeded');
  kill(run, 'main.py');
  expect(await runJob(run)).toBe('succeeded');
  kill(run, 'worker_gpu');
  expect(await runJob(run)).toBe('succeeded');
});

test('npm start exits with a message when wrangler is killed', { timeout: 180_000 }, async () => {
  const run = await launched('local/start.ts');
  await run.line('comfy-edge is up');
  kill(run, 'wrangler.js');
  const { code, stderr } = await run.ended;
  expect({ code, last: stderr.at(-1) }).toEqual({ code: 1, last: 'The gateway ended by itself.' });
});
