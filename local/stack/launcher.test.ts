import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';

/** Runs a launched body in a process of its own. In `body`, `run` is the launch and `done` and `failure` make outcomes. */
function launched(body: string) {
  const module = (name: string) => JSON.stringify(join(import.meta.dirname, name));
  const script = `
    const { launch } = await import(${module('launcher.ts')});
    const { done, failure } = await import(${module('outcome.ts')});
    await launch(async (run) => { ${body} });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = Promise.all([once(child, 'exit'), text(child.stderr)]).then(([[code], stderr]) => ({ code, stderr }));
  return { child, ended };
}

/** Says that it has started, closes with a word, and ends only when it is asked to. */
const UNTIL_ASKED = `
  run.defer(async () => console.error('first closed last'));
  run.defer(async () => console.error('last closed first'));
  const asked = new Promise((resolve) => run.signal.addEventListener('abort', resolve));
  console.log('up');
  await asked;
  console.error('left off');
  return done(null);`;

test('a launcher whose body succeeds exits with 0', async () => {
  expect(await launched('return done(null);').ended).toEqual({ code: 0, stderr: '' });
});

test('a launcher whose body fails prints details and message, and exits with 1', async () => {
  const { ended } = launched(`return failure('The port is busy. Choose another.', ['a detail']);`);
  expect(await ended).toEqual({ code: 1, stderr: '  a detail\nThe port is busy. Choose another.\n' });
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s aborts the body, closes everything in reverse, and exits with %i', async (signal, code) => {
  const { child, ended } = launched(UNTIL_ASKED);
  await once(child.stdout, 'data');
  child.kill(signal);
  expect(await ended).toEqual({ code, stderr: 'left off\nlast closed first\nfirst closed last\nStopped.\n' });
});

test('two signals in a row count as one', async () => {
  const { child, ended } = launched(UNTIL_ASKED);
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 130, stderr: expect.stringContaining('first closed last') });
});

test.each([
  ['thrown in the body', `throw new Error('boom');`],
  [
    'thrown in a callback',
    `setTimeout(() => { throw new Error('boom'); }); await new Promise((resolve) => run.signal.addEventListener('abort', resolve)); return done(null);`,
  ],
  [
    'rejected without a handler',
    `void Promise.reject(new Error('boom')); await new Promise((resolve) => run.signal.addEventListener('abort', resolve)); return done(null);`,
  ],
])('an exception %s closes everything and exits with 1', async (_, body) => {
  const { ended } = launched(`run.defer(async () => console.error('closed')); ${body}`);
  const { code, stderr } = await ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/Unexpected: boom\nclosed\n$/);
});

test('a closer that fails does not stop the others', async () => {
  const { ended } = launched(`
    run.defer(async () => console.error('closed'));
    run.defer(async () => { throw new Error('stuck'); });
    return done(null);`);
  expect((await ended).stderr).toMatch(/Unexpected: stuck\nclosed\n$/);
});

test('a launcher ends when its stdout is closed', async () => {
  const { child, ended } = launched(`
    run.defer(async () => console.error('closed'));
    process.stdin.resume();
    const timer = setInterval(() => console.log('working'), 1);
    await new Promise((resolve) => run.signal.addEventListener('abort', resolve));
    clearInterval(timer);
    return done(null);`);
  await once(child.stdout, 'data');
  child.stdout.destroy();
  expect(await ended).toMatchObject({ code: 129, stderr: expect.stringContaining('closed') });
});
