import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { type Server, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type Launched, launched } from './stack/testing/launched.ts';

const demo = (env: Record<string, string> = {}): Promise<Launched> => launched('local/demo.ts', env);

/** Resolves when no port has a listener: holds a connection to each, and opens a new one while it can. */
async function silence(ports: number[]): Promise<void> {
  await Promise.all(
    ports.map(async (port) => {
      while (await connectUntilClosed(port)) {
        // The program closed the connection but still listens: it may be about to end.
      }
    }),
  );
}

/** False at once if nothing listens; true when the connection was closed from the other end. */
async function connectUntilClosed(port: number): Promise<boolean> {
  return new Promise((answer) => {
    let connected = false;
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      connected = true;
    });
    socket.once('error', () => undefined);
    socket.once('close', () => answer(connected));
  });
}

/** The ports of gateway, RunPod and ComfyUI, as the platform itself wrote them down. */
function portsOf(folder: string): number[] {
  const state = join(folder, 'state');
  const log = readdirSync(join(state, 'logs')).find((name) => name.startsWith('local-'));
  const gateway = readFileSync(join(state, 'gateway.env'), 'utf8');
  const worker = readFileSync(join(state, 'logs', log ?? ''), 'utf8');
  const found = [
    /PUBLIC_URL='http:\/\/127.0.0.1:(\d+)'/.exec(gateway),
    /RUNPOD_BASE_URL='http:\/\/127.0.0.1:(\d+)/.exec(gateway),
    /comfyui starting.* port=(\d+)/.exec(worker),
  ];
  const ports = found.map((match) => Number(match?.[1]));
  expect(ports.every((port) => port > 0)).toBe(true);
  return ports;
}

async function busyPort(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

test('the demo writes an image and a video from an empty directory, and exits with 0', async () => {
  const { ended, folder } = await launched('local/demo.ts', {}, 'empty');
  const { code, stdout, stderr } = await ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: [] });
  const output = join(folder, 'output');
  const [clip, still] = readdirSync(output).sort();
  expect([clip, still]).toEqual(['clip_00001_.mp4', 'still_00001_.png']);
  expect(readFileSync(join(output, 'still_00001_.png')).subarray(1, 4).toString()).toBe('PNG');
  expect(readFileSync(join(output, 'clip_00001_.mp4')).subarray(4, 8).toString()).toBe('ftyp');
  const picture = statSync(join(output, 'still_00001_.png')).size;
  expect(stdout.join('\n')).toContain(`still_00001_.png (${picture} bytes, SHA-256 as the API says)`);
  expect(stdout.some((line) => /node 16 SaveVideo: (finished|cached)/.test(line))).toBe(true);
  expect(stdout.some((line) => /job: execution +\d+\.\d\d s/.test(line))).toBe(true);
  for (const secret of ['gateway.env', 'secrets.json']) {
    expect(statSync(join(folder, 'state', secret)).mode & 0o077).toBe(0);
  }
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s during the demo job stops everything and exits with %i', async (signal, code) => {
  const run = await demo();
  await run.line('executing');
  const ports = portsOf(run.folder);
  run.process.kill(signal);
  expect(await run.ended).toMatchObject({ code, stderr: ['Stopped.'] });
  await silence(ports);
});

test('SIGINT while the demo starts stops everything and exits with 130', async () => {
  const run = await demo();
  await run.line('Starting');
  run.process.kill('SIGINT');
  expect(await run.ended).toMatchObject({ code: 130, stderr: ['Stopped.'] });
});

test('kill -9 of the demo leaves nothing running', async () => {
  const run = await demo();
  await run.line('executing');
  const ports = portsOf(run.folder);
  run.process.kill('SIGKILL');
  expect(await run.ended).toMatchObject({ signal: 'SIGKILL' });
  await silence(ports);
});

test.each([
  ['GATEWAY_PORT', 'gateway'],
  ['RUNPOD_PORT', 'local RunPod'],
])('the demo names a busy %s and the setting that changes it', async (variable, purpose) => {
  const { port } = await busyPort();
  const { code, stderr } = await (await demo({ [variable]: String(port) })).ended;
  expect(code).toBe(1);
  expect(stderr).toEqual([
    `Port ${port} (${purpose}) is in use. Stop what listens there, or choose another: ${variable}=<port> in front of the command.`,
  ]);
});

test('the demo names a COMFYUI_URL that does not answer', async () => {
  const { server, port } = await busyPort();
  server.close();
  await once(server, 'close');
  const url = `http://127.0.0.1:${port}`;
  const { code, stderr } = await (await demo({ COMFYUI_URL: url })).ended;
  expect(code).toBe(1);
  expect(stderr).toEqual([
    `COMFYUI_URL: nothing at ${url} answers as a ComfyUI. Start ComfyUI there, or leave COMFYUI_URL out to use the CPU engine.`,
  ]);
});

test('a second demo in the same folder ends with a message about the first', async () => {
  const first = await demo();
  await first.line('Starting');
  await first.line('Uploaded');
  const second = await demo({ STATE_DIR: join(first.folder, 'state') });
  expect(await second.ended).toMatchObject({
    code: 1,
    stderr: [expect.stringMatching(/^Another comfy-edge runs from .*Stop it first/)],
  });
  expect(await first.ended).toMatchObject({ code: 0 });
  expect(existsSync(join(second.folder, 'output'))).toBe(false);
});
