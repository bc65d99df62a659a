import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lock, tryLock } from './lock.ts';

function temporaryPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-lock-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'state', 'some.lock');
}

/** Another process that takes the lock and keeps it. */
async function holder(path: string) {
  const script = `const { tryLock } = await import(${JSON.stringify(join(import.meta.dirname, 'lock.ts'))});
    globalThis.held = tryLock(${JSON.stringify(path)}); console.log('taken'); setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

test('a lock has one holder, and is free again after its release', () => {
  const path = temporaryPath();
  const first = tryLock(path);
  expect(first).not.toBeNull();
  expect(tryLock(path)).toBeNull();
  first?.release();
  const second = tryLock(path);
  expect(second).not.toBeNull();
  second?.release();
});

test('a lock is released when its process is killed', async () => {
  const path = temporaryPath();
  const child = await holder(path);
  expect(tryLock(path)).toBeNull();
  child.kill('SIGKILL');
  await once(child, 'exit');
  const taken = tryLock(path);
  expect(taken).not.toBeNull();
  taken?.release();
});

test('a waiting process reports once and then gets the lock', async () => {
  const path = temporaryPath();
  const child = await holder(path);
  let reports = 0;
  const held = await lock(path, () => {
    reports += 1;
    child.kill('SIGKILL');
  });
  expect(reports).toBe(1);
  held.release();
});
