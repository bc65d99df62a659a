import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { ensureEnvironment } from '../../local/python/environment.ts';
import { findComfyUi } from '../../local/stack/comfyui.ts';
import { type Launch, launch } from '../../local/stack/launcher.ts';
import { type Outcome, done, failure } from '../../local/stack/outcome.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { startProgram } from '../../local/stack/program.ts';
import { type Observation, observe, stable } from './observe.ts';

const root = resolve(import.meta.dirname, '..', '..');
const START_MS = 30_000;
const measuredSchema = z.object({ facts: z.tuple([z.unknown(), z.unknown()]), most: z.number().nullable() });

/** Rounding differs by at most one step of a channel (issue "the whole path": "within 1/255"). */
const MOST_PICTURE = 1;

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

interface Verdict {
  same: boolean;
  text: string;
}

const verdictOn = (one: unknown, two: unknown, text: string): Verdict =>
  isDeepStrictEqual(one, two)
    ? { same: true, text }
    : { same: false, text: `**differ**: \`${JSON.stringify(one)}\` here, \`${JSON.stringify(two)}\` there` };

function judge(python: string, our: Observation, their: Observation) {
  const end = ({ job }: Observation) => ({ status: job.status, error: job.error });
  const outputs = ({ job }: Observation) =>
    job.outputs.map(({ name, node_id, type, content_type, text }) =>
      [stable(name), node_id, type, content_type, text].join(' '),
    );
  const missing = (one: Observation, two: Observation) => one.story.filter((line) => !two.story.includes(line));
  const measured = [...our.files].map(([name, path]) => measure(python, name, path, their.files.get(name)));
  return {
    ends: verdictOn(end(our), end(their), our.job.error?.code ?? our.job.status),
    outputs: verdictOn(outputs(our).toSorted(), outputs(their).toSorted(), String(our.job.outputs.length)),
    files: {
      same: measured.every((each) => each.same),
      text: [...new Set(measured.map((each) => each.text))].join('; ') || '-',
    },
    events: isDeepStrictEqual(our.story, their.story)
      ? { same: true, text: `same (${our.story.length})` }
      : verdictOn(missing(our, their), missing(their, our), '**differ** in order'),
  };
}

function measure(python: string, name: string, ours: string, theirs: string | undefined): Verdict {
  if (theirs === undefined) {
    return { same: false, text: `**${name} only here**` };
  }
  const run = spawnSync(python, [join(import.meta.dirname, 'measure.py'), ours, theirs], { encoding: 'utf8' });
  if (run.status !== 0) {
    return { same: false, text: `**${name}: ${run.stderr.trim().split('\n').at(-1)}**` };
  }
  const { facts, most } = measuredSchema.parse(JSON.parse(run.stdout));
  if (!isDeepStrictEqual(facts[0], facts[1])) {
    return verdictOn(facts[0], facts[1], '');
  }
  const lossy = name.endsWith('.mp4') || name.endsWith('.webm');
  const text = most === 0 ? 'same pixels' : `within ${most}/255`;
  return { same: most !== null && (lossy || most <= MOST_PICTURE), text: lossy ? `${text} after decoding` : text };
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
