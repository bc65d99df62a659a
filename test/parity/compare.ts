import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { findComfyUi } from '../../local/stack/comfyui.ts';
import { type Launch, launch } from '../../local/stack/launcher.ts';
import { type Outcome, done, failure } from '../../local/stack/outcome.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { startProgram } from '../../local/stack/program.ts';
import { judge } from './judge.ts';
import { observe } from './observe.ts';

const root = resolve(import.meta.dirname, '..', '..');
const START_MS = 30_000;

/**
 * `node test/parity/compare.ts http://127.0.0.1:8188`: the same jobs through two whole platforms, one on the CPU engine, one on
 * the ComfyUI given (which needs the probe nodes); prints a Markdown table of what differs.
 */
async function compare({ signal, defer }: Launch): Promise<Outcome<null>> {
  const real = await findComfyUi(root, process.argv[2] ?? '');
  if (!real.ok) {
    return real;
  }
  if (!('url' in real.value)) {
    return failure('Name the ComfyUI to compare with: node test/parity/compare.ts http://127.0.0.1:8188');
  }
  const environment = await ensureEnvironment({ root, signal, report: (line) => console.log(line) });
  if (!environment.ok) {
    return environment;
  }
  const { python } = environment.value;
  const folder = mkdtempSync(join(tmpdir(), 'comfy-edge-parity-'));
  const engine = await startEngine(python, join(folder, 'engine'), signal);
  if (!engine.ok) {
    return engine;
  }
  defer(engine.value.stop);

  const ours = await observe(engine.value.url, join(folder, 'here'));
  const theirs = await observe(real.value.url, join(folder, 'there'));
  console.log('| job | ends | outputs | files | events |\n|---|---|---|---|---|');
  let same = true;
  for (const [index, our] of ours.entries()) {
    const their = theirs[index];
    if (their === undefined) {
      return failure(`no observation of ${our.name}`);
    }
    const verdict = judge(python, our, their);
    same &&= Object.values(verdict).every((each) => each.same);
    const { ends, outputs, files, events } = verdict;
    console.log(`| ${our.name} | ${ends.text} | ${outputs.text} | ${files.text} | ${events.text} |`);
  }
  if (!same) {
    return failure(`The two differ. What they made: ${folder}`);
  }
  await engine.value.stop();
  rmSync(folder, { recursive: true });
  return done(null);
}

/** The CPU engine on a free port, with its files in `folder`. */
async function startEngine(
  python: string,
  folder: string,
  signal: AbortSignal,
): Promise<Outcome<{ url: string; stop: () => Promise<void> }>> {
  const port = await claimPort({ port: 0, purpose: 'CPU engine', variable: '' });
  if (!port.ok) {
    return port;
  }
  mkdirSync(folder, { recursive: true });
  const program = await startProgram({
    command: python,
    args: ['main.py', '--port', String(port.value), '--base-directory', folder, '--probe-nodes'],
    cwd: join(root, 'local', 'comfyui'),
    env: process.env,
    log: join(folder, 'log'),
  });
  const url = `http://127.0.0.1:${port.value}`;
  const giveUp = performance.now() + START_MS;
  while (program.running && performance.now() < giveUp && !signal.aborted) {
    const answer = await fetch(`${url}/system_stats`).catch(() => null);
    if (answer?.ok === true) {
      return done({ url, stop: () => program.stop() });
    }
    await new Promise((resolved) => setTimeout(resolved, 50));
  }
  await program.stop();
  return failure('The CPU engine does not start.', program.tail());
}

await launch(compare);
