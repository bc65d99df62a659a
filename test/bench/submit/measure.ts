import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureApiKey } from '../../../local/stack/api-key.ts';
import { startGateway, waitUntilReady, wranglerProgram } from '../../../local/stack/gateway.ts';
import { type Outcome, valueOf } from '../../../local/stack/outcome.ts';
import { claimPort } from '../../../local/stack/ports.ts';
import { startProgram } from '../../../local/stack/program.ts';
import { readSecrets } from '../../../local/stack/secrets.ts';
import { newStateDirectory } from '../../../local/stack/testing/state.ts';
import { MAX_POLL_S } from '../../../src/contract/timeouts.ts';
import { markdown, median } from '../table.ts';
import { type Load, type Target, load } from './load.ts';
import { startRunpodStub } from './runpod-stub.ts';

/** How much is measured: rounds beside the first, which warms up; requests of one measurement by the number of connections. */
type Size = { rounds: number; counts: ReadonlyMap<number, number> };
/** A few seconds of the slowest in each measurement. */
const FULL: Size = {
  rounds: 7,
  counts: new Map([
    [1, 150],
    [32, 640],
  ]),
};
const SHORT: Size = { rounds: 1, counts: new Map([[2, 4]]) };
/** No limit may be met, and a run that never ends is polled as seldom as may be. */
const LIMITS = { jobs_in_flight: 1_000_000, submits_per_minute: 10_000_000 };
const POLICY = { poll_interval: MAX_POLL_S };
/**
 * A breaker that stays closed. On a slow disk runs queue up behind submits until their calls of `/run` time out, and an open breaker
 * would refuse the submits that are measured. What is measured is the way of a job to an endpoint that is well.
 */
const BREAKER = { failures: 1_000_000 };

/** A text-to-image graph as people send it, 1.5 KB; the seed is new each time. */
const body = (seed: number): string =>
  JSON.stringify({
    workflow: {
      '3': {
        class_type: 'KSampler',
        inputs: {
          seed,
          steps: 20,
          cfg: 8,
          sampler_name: 'euler',
          scheduler: 'normal',
          denoise: 1,
          model: ['4', 0],
          positive: ['6', 0],
          negative: ['7', 0],
          latent_image: ['5', 0],
        },
      },
      '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'v1-5-pruned-emaonly-fp16.safetensors' } },
      '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
      '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a quiet harbour at dawn, oil on canvas', clip: ['4', 1] } },
      '7': { class_type: 'CLIPTextEncode', inputs: { text: 'text, watermark', clip: ['4', 1] } },
      '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
      '9': { class_type: 'SaveImage', inputs: { filename_prefix: 'ComfyUI', images: ['8', 0] } },
    },
  });

/** Submits against a bare route and a bare proxy, all three in workerd behind wrangler's own proxy on the same machine. */
export async function measureSubmits(root: string, signal: AbortSignal, short: boolean): Promise<string> {
  const directory = await newStateDirectory('bench');
  const runpod = await startRunpodStub();
  const stops: (() => Promise<void>)[] = [runpod.stop];
  try {
    const bare = await startBare(root, directory, `${runpod.url}/ep/run`, signal);
    stops.push(bare.stop);
    const secrets = readSecrets(directory);
    const gateway = valueOf(
      await startGateway({
        root,
        directory,
        port: await anyPort(),
        runpodUrl: runpod.url,
        endpoints: { default: { runpod_id: 'ep', environment: 'any', breaker: BREAKER } },
        secrets,
        policy: POLICY,
        limits: LIMITS,
        signal,
      }),
    );
    stops.push(gateway.stop);
    const key = valueOf(await ensureApiKey(gateway.url, directory, secrets, signal));
    const targets = new Map<string, Target>([
      ['(a) bare route, JSON echoed', { url: new URL('/echo', bare.url), headers: {}, status: 200 }],
      ['(b) bare proxy of /run', { url: new URL('/run', bare.url), headers: {}, status: 200 }],
      [
        '(c) POST /v1/jobs',
        { url: new URL('/v1/jobs', gateway.url), headers: { authorization: `Bearer ${key}` }, status: 201 },
      ],
    ]);
    return tableOf(await measureAll(targets, short ? SHORT : FULL));
  } finally {
    for (const stop of stops.toReversed()) {
      await stop();
    }
    rmSync(directory, { recursive: true, force: true });
  }
}

type Measured = { what: string; connections: number; rounds: Load[] };

/** Runs all targets in each round, so that other load on the machine affects all of them. The first round warms up. */
async function measureAll(targets: Map<string, Target>, { rounds: wanted, counts }: Size): Promise<Measured[]> {
  let seed = 0;
  const measured: Measured[] = [...counts.keys()].flatMap((connections) =>
    [...targets.keys()].map((what) => ({ what, connections, rounds: [] })),
  );
  for (let round = 0; round <= wanted; round += 1) {
    for (const one of measured) {
      const target = targets.get(one.what);
      const count = counts.get(one.connections);
      if (target !== undefined && count !== undefined) {
        const seen = await load(target, () => body((seed += 1)), one.connections, count);
        if (round > 0) {
          one.rounds.push(seen);
        }
      }
    }
  }
  return measured;
}

/** Medians over the rounds; ratios are of the same round. */
function tableOf(measured: readonly Measured[]): string {
  const rows = measured.map(({ what, connections, rounds }) => {
    const peers = measured.filter((other) => other.connections === connections);
    const ratio = (letter: string): string => {
      const other = peers.find((peer) => peer.what.startsWith(letter));
      return median(rounds.map((round, index) => round.p50 / (other?.rounds[index]?.p50 ?? Number.NaN))).toFixed(1);
    };
    const middle = (of: (round: Load) => number, digits: number): string => median(rounds.map(of)).toFixed(digits);
    return [
      what,
      String(connections),
      middle((round) => round.perSecond, 0),
      middle((round) => round.p50, 1),
      middle((round) => round.p99, 1),
      ratio('(a)'),
      ratio('(b)'),
    ];
  });
  return markdown([['', 'connections', 'per second', 'p50 ms', 'p99 ms', 'p50 ÷ (a)', 'p50 ÷ (b)'], ...rows]);
}

async function startBare(
  root: string,
  directory: string,
  runpodUrl: string,
  signal: AbortSignal,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const port = await anyPort();
  const args = [
    'dev',
    '--ip=127.0.0.1',
    `--port=${port}`,
    '--inspector-port=0',
    `--var=RUNPOD_URL:${runpodUrl}`,
    `--persist-to=${join(directory, 'bare')}`,
    '--show-interactive-dev-session=false',
    '--config',
    join(import.meta.dirname, 'bare.toml'),
  ];
  const program = await startProgram(wranglerProgram({ root, directory }, args, 'bare.log'));
  const url = `http://127.0.0.1:${port}`;
  valueOf(await waitUntilReady(`${url}/readyz`, program, signal));
  return { url, stop: () => program.stop() };
}

const anyPort = async (): Promise<number> =>
  valueOf<number>(
    (await claimPort({ port: 0, purpose: 'a benchmark', variable: 'GATEWAY_PORT' })) satisfies Outcome<number>,
  );
