import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { callerOf } from './testing/caller.ts';

const MAIN = resolve(import.meta.dirname, 'main.ts');

function start(...args: string[]): ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream } {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

/** Starts the program with one worker that is a shell with a child of its own; resolves with both process ids. */
async function startWithWorker() {
  const command = ['sh', '-c', 'sleep 600 & echo "child $!"; wait'];
  const child = start(
    JSON.stringify({ port: 0, echo_worker_logs: true, endpoints: [{ id: 'e1', workers: { min: 1, command } }] }),
  );
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === 2) {
      break;
    }
  }
  const url =
    lines
      .find((line) => line.startsWith('local/runpod ready '))
      ?.split(' ')
      .at(-1) ?? '';
  const grandchild = Number(
    lines
      .find((line) => line.startsWith('[e1-w1] child '))
      ?.split(' ')
      .at(-1),
  );
  const { body } = await callerOf(url).get('/admin/state');
  const state = z
    .object({ endpoints: z.array(z.object({ workers: z.array(z.object({ pid: z.number() })) })) })
    .parse(body);
  return { child, url, pids: [state.endpoints[0]?.workers[0]?.pid ?? 0, grandchild] };
}

/** True while a process runs. A zombie does not count, where /proc shows it. */
function runs(pid: number): boolean {
  try {
    if (existsSync('/proc/self/stat')) {
      return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
    }
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Resolves when none of the processes runs any more. */
async function gone(pids: readonly number[]): Promise<void> {
  await expect.poll(() => pids.filter((pid) => runs(pid)), { timeout: 10_000, interval: 20 }).toEqual([]);
}

describe('starting local/runpod', () => {
  it('prints its address, which answers', async () => {
    const { url } = await startWithWorker();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await callerOf(url).get('/v2/e1/health')).status).toBe(200);
  });

  it('names the port that is in use and exits with 1', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    onTestFinished(() => {
      blocker.close();
    });
    const address = blocker.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const child = start(JSON.stringify({ port, endpoints: [{ id: 'e1', workers: {} }] }));
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    expect(said).toBe(`local/runpod: port ${port} is in use: stop what listens there or set another "port"\n`);
    expect(code).toBe(1);
  });

  it.each([
    ['{', /^local\/runpod: config: .*JSON.*\n$/],
    ['/no/such/file.json', /^local\/runpod: config: ENOENT.*\n$/],
    ['{"endpoints": []}', /^local\/runpod: config: endpoints: .*\n$/],
    [
      '{"endpoints": [{"id": "e1", "workers": {"max": -1}}]}',
      /^local\/runpod: config: endpoints\.0\.workers\.max: .*\n$/,
    ],
  ])('names the error of the config %s and exits with 1', async (config, line) => {
    const child = start(config);
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    expect(said).toMatch(line);
    expect(code).toBe(1);
  });
});

describe('closing a platform in its host program', () => {
  it('lets the program end', async () => {
    const child = spawn(process.execPath, [resolve(import.meta.dirname, 'testing/host-program.ts')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    let closedAt = 0;
    const [said, complaints, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit').finally(() => {
        closedAt = Date.now();
      }),
    ]);
    expect(complaints).toBe('');
    expect(code).toBe(0);
    expect(closedAt - Number(said.split(' ').at(-1))).toBeLessThan(5000);
  });
});

describe('ending local/runpod', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('stops every worker after %s', async (signal) => {
    const { child, pids } = await startWithWorker();
    expect(pids.every((pid) => runs(pid))).toBe(true);
    child.kill(signal);
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
    await gone(pids);
  });

  it('stops every worker after kill -9', async () => {
    const { child, pids } = await startWithWorker();
    expect(pids.every((pid) => runs(pid))).toBe(true);
    child.kill('SIGKILL');
    await gone(pids);
  });
});
