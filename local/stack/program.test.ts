import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { type Program, startProgram } from './program.ts';

const TREE = join(import.meta.dirname, 'testing/tree.ts');
const HOST = join(import.meta.dirname, 'testing/host.ts');

/** Waits for the members of a program's tree to say their names, and for their ends. */
interface Witness {
  port: number;
  present: Promise<Map<string, Promise<unknown>>>;
}

/** A member's connection closes when its process ends. This needs no polling and no process ids. */
async function witness(): Promise<Witness> {
  const members = new Map<string, Promise<unknown>>();
  const present = Promise.withResolvers<typeof members>();
  const server = createServer((socket) => {
    const ended = once(socket, 'close');
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('line', (name) => {
      members.set(name, ended);
      if (members.size === 2) {
        present.resolve(members);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: portOf(server.address()), present: present.promise };
}

function portOf(address: string | AddressInfo | null): number {
  if (typeof address !== 'object' || address === null) {
    throw new Error('no port');
  }
  return address.port;
}

function temporaryLog(): string {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-program-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'logs', 'program.log');
}

async function startTree(port: number, manner = ''): Promise<Program> {
  const args = [TREE, String(port), manner];
  const program = await startProgram({
    command: process.execPath,
    args,
    cwd: tmpdir(),
    env: process.env,
    log: temporaryLog(),
  });
  onTestFinished(() => program.kill9());
  return program;
}

test('stop ends the program and its children, and `exited` resolves', async () => {
  const { port, present } = await witness();
  const program = await startTree(port);
  const members = await present;
  expect(program.running).toBe(true);
  await program.stop();
  expect(program.running).toBe(false);
  expect(await program.exited).toEqual({ code: null, signal: 'SIGTERM' });
  await Promise.all(members.values());
});

test('kill9 ends the program and its children although they ignore SIGTERM', async () => {
  const { port, present } = await witness();
  const program = await startTree(port, 'stubborn');
  const members = await present;
  await program.kill9();
  expect(await program.exited).toEqual({ code: null, signal: 'SIGKILL' });
  await Promise.all(members.values());
});

test('kill -9 of the launcher ends the program and its children', async () => {
  const { port, present } = await witness();
  const launcher = spawn(process.execPath, [HOST, String(port), temporaryLog()], { stdio: 'ignore' });
  const members = await present;
  launcher.kill('SIGKILL');
  await Promise.all(members.values());
  expect([...members.keys()].sort()).toEqual(['child', 'parent']);
});

test('the log has the output of the program and its children', async () => {
  const { port, present } = await witness();
  const program = await startTree(port);
  await present;
  expect(program.tail().sort()).toEqual(['child was here', 'parent was here']);
});

test('a missing program is an error', async () => {
  const options = { command: '/nowhere/at-all', args: [], cwd: tmpdir(), env: {}, log: temporaryLog() };
  await expect(startProgram(options)).rejects.toMatchObject({ code: 'ENOENT' });
});
