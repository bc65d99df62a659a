import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type RunningRunpod, startRunpod } from '../runpod/index.ts';
import { ensureApiKey } from './api-key.ts';
import type { ComfyUi } from './comfyui.ts';
import { type EndpointSettings, type Gateway, startGateway } from './gateway.ts';
import { tryLock } from './lock.ts';
import { type Outcome, done, failure } from './outcome.ts';
import { type PortRequest, claimPort } from './ports.ts';
import { readSecrets } from './secrets.ts';

/** RunPod's id of the one endpoint; clients call it `default`. */
const ENDPOINT = 'local';

/** Number of failed worker starts in a row after which waiting makes no sense. */
const FAILED_STARTS = 3;
const SHOWN_LINES = 15;

/** Replaces the minimum of a GPU worker: the CPU engine needs less. */
const LOCAL_MIN_FREE_MB = '64';

type RunpodEndpoint = Parameters<typeof startRunpod>[0]['endpoints'][number];

export interface StackOptions {
  /** The checkout. */
  root: string;
  /** State, secrets and logs; made when missing. One stack at a time may use it. */
  directory: string;
  /** 0 means any free port. */
  ports: { gateway: number; runpod: number };
  /** Interpreter of the environment `local/python` makes. */
  python: string;
  comfyui: ComfyUi;
  /** Workers kept running when idle, and at most. */
  workers: { min: number; max: number };
  /** Added to every worker's environment. */
  workerEnv?: Record<string, string>;
  /** What RunPod does with the job of a worker that is gone, and other settings of its endpoint. */
  runpodEndpoint?: Partial<Omit<RunpodEndpoint, 'id' | 'workers'>>;
  /** Endpoints beside `default`: by the name clients use, the gateway's settings and, where RunPod is to have it, RunPod's. */
  endpoints?: Record<string, { gateway: EndpointSettings; runpod?: RunpodEndpoint }>;
  /** `POLICY` and `LIMITS` of the gateway (docs/reference/configuration.md). */
  policy?: Record<string, number>;
  limits?: Record<string, number>;
  /** See `GatewayOptions.entry`. */
  gatewayEntry?: string;
  signal?: AbortSignal;
}

/** The whole platform on one machine. */
export interface Stack {
  /** Origin of the gateway. */
  url: string;
  /** An API key of the account `local`. */
  key: string;
  /** May call `POST /v1/keys`. */
  adminToken: string;
  /** Base of RunPod's admin calls (local/runpod/README.md), without a slash at the end. */
  runpodAdmin: string;
  runpod: RunningRunpod;
  gateway: Gateway;
  /** Resolves when workers end again and again before one is ready; the end of the last one's log. */
  workersFailed: Promise<string[]>;
  /** Folder with the logs of gateway and workers, of this run only. */
  logs: string;
  /** Stops everything; safe to call twice. */
  stop(): Promise<void>;
}

/** Starts RunPod, its workers and the gateway side by side, and makes an API key. A failure leaves nothing running. */
export async function startStack(options: StackOptions): Promise<Outcome<Stack>> {
  mkdirSync(options.directory, { recursive: true });
  const held = tryLock(join(options.directory, 'stack.lock'));
  if (held === null) {
    return failure(
      `Another comfy-edge runs from ${options.directory}. Stop it first (Ctrl-C where npm start or npm run demo runs).`,
    );
  }
  const parts: { close: () => Promise<void> }[] = [];
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      const results = await Promise.allSettled(parts.map((part) => part.close()));
      held.release();
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) {
        throw failed.reason;
      }
    })();
    return stopping;
  };
  try {
    const started = await startParts(options, parts);
    if (!started.ok) {
      await stop();
      return started;
    }
    return done({ ...started.value, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  options: StackOptions,
  parts: { close: () => Promise<void> }[],
): Promise<Outcome<Omit<Stack, 'stop'>>> {
  const signal = options.signal ?? new AbortController().signal;
  const secrets = readSecrets(options.directory);
  const logs = join(options.directory, 'logs');
  rmSync(logs, { recursive: true, force: true });

  const gatewayPort = await claimPort(portRequest('gateway', options.ports.gateway));
  // RunPod finds a free port by itself; the gateway's must be known before it starts, for it is in its configuration.
  const runpodPort =
    options.ports.runpod === 0 ? done(0) : await claimPort(portRequest('runpod', options.ports.runpod));
  if (!gatewayPort.ok) {
    return gatewayPort;
  }
  if (!runpodPort.ok) {
    return runpodPort;
  }
  const gatewayUrl = `http://127.0.0.1:${gatewayPort.value}`;

  const others = Object.entries(options.endpoints ?? {});

  // RunPod first: its workers and their ComfyUI start while the gateway does.
  const runpod = await startRunpod({
    port: runpodPort.value,
    api_keys: [secrets.runpodApiKey],
    log_dir: logs,
    endpoints: [
      {
        ...options.runpodEndpoint,
        id: ENDPOINT,
        workers: { ...options.workers, ...workerProgram(options, gatewayUrl) },
      },
      ...others.flatMap(([, { runpod: other }]) => other ?? []),
    ],
  });
  parts.push(runpod);
  const gateway = await startGateway({
    root: options.root,
    directory: options.directory,
    port: gatewayPort.value,
    runpodUrl: `${runpod.url}/v2`,
    // Nothing here costs anything, so keys of both environments may use it.
    endpoints: {
      default: { runpod_id: ENDPOINT, environment: 'any' },
      ...Object.fromEntries(others.map(([name, { gateway: settings }]) => [name, settings])),
    },
    secrets,
    policy: options.policy ?? {},
    limits: options.limits ?? {},
    ...(options.gatewayEntry === undefined ? {} : { entry: options.gatewayEntry }),
    signal,
  });
  if (!gateway.ok) {
    return gateway;
  }
  parts.push({ close: () => gateway.value.stop() });
  const key = await ensureApiKey(gateway.value.url, options.directory, secrets, signal);
  if (!key.ok) {
    return key;
  }
  return done({
    url: gateway.value.url,
    key: key.value,
    adminToken: secrets.adminToken,
    runpodAdmin: `${runpod.url}/admin`,
    runpod,
    gateway: gateway.value,
    workersFailed: watchWorkers(runpod, logs),
    logs,
  });
}

/** Counts workers that end before they are ready. Several in a row have the same cause. */
function watchWorkers(runpod: RunningRunpod, logs: string): Promise<string[]> {
  return new Promise((resolve) => {
    let failures = 0;
    runpod.events.listen((event) => {
      if (event.type === 'worker_ready') {
        failures = 0;
      } else if (event.type === 'worker_exited') {
        failures += 1;
        if (failures === FAILED_STARTS) {
          resolve(lastLines(join(logs, `${event.endpoint}-${event.worker}.log`)));
        }
      }
    });
  });
}

function lastLines(log: string): string[] {
  return existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-SHOWN_LINES) : [];
}

/** The real worker-gpu under the real RunPod SDK, with only the settings that its README documents. */
function workerProgram(options: StackOptions, gatewayUrl: string) {
  const comfyui: Record<string, string> =
    'url' in options.comfyui ? { COMFYUI_URL: options.comfyui.url } : { COMFYUI_PATH: options.comfyui.path };
  return {
    command: [options.python, '-m', 'worker_gpu'],
    cwd: options.root,
    env: {
      ...comfyui,
      COMFYUI_PYTHON: options.python,
      PYTHONPATH: join(options.root, 'worker-gpu', 'src'),
      PYTHONUNBUFFERED: '1',
      GATEWAY_ORIGIN: gatewayUrl,
      WORKER_DATA_DIR: join(options.directory, 'worker'),
      MIN_FREE_MEMORY_MB: LOCAL_MIN_FREE_MB,
      MIN_FREE_DISK_MB: LOCAL_MIN_FREE_MB,
      ...options.workerEnv,
    },
  };
}

function portRequest(part: 'gateway' | 'runpod', port: number): PortRequest {
  return part === 'gateway'
    ? { port, purpose: 'gateway', variable: 'GATEWAY_PORT' }
    : { port, purpose: 'local RunPod', variable: 'RUNPOD_PORT' };
}
