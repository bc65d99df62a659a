import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PlatformEvent, type RunningRunpod, startRunpod } from '../../local/runpod/index.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { type Attempt, type BenchJob, type ContractGateway, startContractGateway } from './contract-gateway.ts';
import { type Passage, type Relay, startRelay } from './relay.ts';
import type { Rounds, Row } from './table.ts';

/** Pixels on a side: noise of that size is a PNG of 2 MB, since it cannot be compressed. */
const SIDE = 836;
const JOB_MS = 60_000;

const quick: BenchJob = {
  inputs: {},
  workflow: {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0x3366cc } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
  },
};

/** Each job's noise is new: else ComfyUI's cache would answer. PPM is the simplest form that Pillow reads. */
const twoMegabytes = (seed: number): BenchJob => ({
  inputs: {
    'noise.ppm': Buffer.concat([
      Buffer.from(`P6\n${SIDE} ${SIDE}\n255\n`),
      createHash('shake256', { outputLength: SIDE * SIDE * 3 })
        .update(String(seed))
        .digest(),
    ]),
  },
  workflow: {
    '1': { class_type: 'LoadImage', inputs: { image: 'noise.ppm' } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'noise' } },
  },
});

interface Bench {
  relay: Relay;
  gateway: ContractGateway;
  runpod: RunningRunpod;
}

/**
 * What the worker adds to ComfyUI's time. The real worker under the RunPod SDK, its own ComfyUI (the CPU engine) behind a relay
 * that notes when a message passes, and a gateway that answers at once; all on loopback.
 */
export async function measureOverhead(
  root: string,
  python: string,
  { warmUp, runs }: Rounds,
  signal: AbortSignal,
): Promise<Row[]> {
  const data = mkdtempSync(join(tmpdir(), 'comfy-edge-bench-'));
  const [comfyui, behind, port] = [await freePort(), await freePort(), await freePort()];
  const relay = await startRelay(comfyui, behind);
  const gateway = await startContractGateway(port);
  const runpod = await startRunpod({
    port: 0,
    log_dir: join(data, 'logs'),
    endpoints: [
      {
        id: 'bench',
        workers: {
          min: 1,
          max: 1,
          command: [python, '-m', 'worker_gpu'],
          cwd: root,
          env: {
            COMFYUI_PATH: join(root, 'test', 'bench', 'relayed-comfyui'),
            COMFYUI_PYTHON: python,
            COMFYUI_PORT: String(comfyui),
            COMFYUI_ARGS: `--behind ${behind}`,
            PYTHONPATH: join(root, 'worker-gpu', 'src'),
            GATEWAY_ORIGIN: gateway.url,
            WORKER_DATA_DIR: data,
            MIN_FREE_MEMORY_MB: '64',
            MIN_FREE_DISK_MB: '64',
          },
        },
      },
    ],
  });
  try {
    const bench = { relay, gateway, runpod };
    const small = await repeat(warmUp, runs, signal, () => runOne(bench, quick));
    const large = await repeat(warmUp, runs, signal, (number) => runOne(bench, twoMegabytes(number)));
    const size = `${((large[0]?.stored[0] ?? 0) / 1e6).toFixed(1)} MB PNG`;
    return [
      row('claim answered → POST /prompt', 15, small, toPrompt),
      row(`claim answered → POST /prompt, with an input of ${size.split(' PNG')[0]}`, null, large, toPrompt),
      row(`last executed → complete, ${size}`, 60, large, toComplete),
      row('last executed → complete, 64 × 64 PNG', null, small, toComplete),
    ];
  } finally {
    await runpod.close();
    await gateway.close();
    await relay.close();
    rmSync(data, { recursive: true, force: true });
  }
}

type Times = Attempt & Passage;
const toPrompt = (times: Times): number => times.promptAt - times.claimedAt;
const toComplete = (times: Times): number => times.completeAt - times.executedAt;
const row = (what: string, aim: number | null, times: readonly Times[], span: (times: Times) => number): Row => ({
  what,
  aim,
  samples: times.map(span),
});

async function repeat<T>(
  warmUp: number,
  runs: number,
  signal: AbortSignal,
  run: (number: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (let number = 0; number < warmUp + runs; number += 1) {
    signal.throwIfAborted();
    results.push(await run(number));
  }
  return results.slice(warmUp);
}

/** One job from RunPod's queue to RunPod's end of it. */
async function runOne({ relay, gateway, runpod }: Bench, job: BenchJob): Promise<Times> {
  relay.take();
  const { ticket, attempt } = gateway.offer(job);
  const after = runpod.events.find({ after: 0 }).at(-1)?.n ?? 0;
  const response = await fetch(`${runpod.url}/v2/bench/run`, {
    method: 'POST',
    headers: { authorization: 'Bearer bench', 'content-type': 'application/json' },
    body: JSON.stringify({ input: ticket }),
  });
  if (!response.ok) {
    throw new Error(`run: ${response.status} ${await response.text()}`);
  }
  const finished: PlatformEvent[] = await runpod.events.wait({ type: 'job_finished', after }, JOB_MS);
  if (finished.length === 0) {
    throw new Error(`no job ended within ${JOB_MS} ms`);
  }
  const done = await attempt;
  if (done.outcome !== 'succeeded') {
    throw new Error(`the job ended ${done.outcome}`);
  }
  return { ...done, ...relay.take() };
}

async function freePort(): Promise<number> {
  const port = await claimPort({ port: 0, purpose: 'benchmark', variable: '' });
  if (!port.ok) {
    throw new Error(port.message);
  }
  return port.value;
}
