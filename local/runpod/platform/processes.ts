import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Reaper } from './reaper.ts';

/** The process of one worker. */
export interface WorkerProcess {
  endpoint: string;
  worker: string;
  /** Its slot (1..max), passed as WORKER_INDEX. */
  slot: number;
  command: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string | undefined;
  pingIntervalMs: number;
}

/** How a process ended. `problem` is set when it could not be started at all. */
export interface Exit {
  code: number | null;
  signal: string | null;
  problem: string | null;
}

/** A started worker: a process group of its own. */
export interface Launched {
  pid: number | null;
  /** SIGTERM goes to the worker itself; SIGKILL goes to its whole process group. */
  signal(signal: NodeJS.Signals): void;
  exited: Promise<Exit>;
}

export type Launcher = (order: WorkerProcess) => Launched;

interface LauncherParts {
  /** Where the platform can be reached by its workers, without a slash at the end. */
  baseUrl: () => string;
  workerKey: string;
  logDir: string | undefined;
  echo: ((line: string) => void) | null;
  reaper: Reaper;
}

/** Starts workers as child processes with the environment RunPod gives them. */
export function processLauncher(parts: LauncherParts): Launcher {
  return (order) => {
    const [program = '', ...args] = order.command;
    const child = spawn(program, args, {
      cwd: order.cwd,
      env: { ...process.env, ...order.env, ...workerEnvironment(order, parts.baseUrl(), parts.workerKey) },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const pid = child.pid ?? null;
    if (pid !== null) {
      parts.reaper.watch(pid);
    }
    const closeLog = keepOutput(order, parts, [child.stdout, child.stderr]);
    const exited = new Promise<Exit>((resolve) => {
      child.once('error', (error) => {
        closeLog();
        resolve({ code: null, signal: null, problem: error.message });
      });
      child.once('exit', (code, signal) => {
        if (pid !== null) {
          // What the worker started (its ping process, a ComfyUI) ends with it, as it would in a container.
          signalGroup(pid, 'SIGKILL');
          parts.reaper.forget(pid);
        }
        closeLog();
        resolve({ code, signal, problem: null });
      });
    });
    return {
      pid,
      exited,
      signal(signal) {
        if (pid === null || child.exitCode !== null || child.signalCode !== null) {
          return;
        }
        if (signal === 'SIGKILL') {
          signalGroup(pid, signal);
        } else {
          child.kill(signal);
        }
      },
    };
  };
}

/** The variables the RunPod SDK reads (runpod.md 4.1). The URLs carry a query because the SDK appends with `&`. */
export function workerEnvironment(order: WorkerProcess, baseUrl: string, key: string): Record<string, string> {
  const base = `${baseUrl}/v2/${order.endpoint}`;
  return {
    RUNPOD_POD_ID: order.worker,
    RUNPOD_POD_HOSTNAME: `${order.endpoint}-${order.worker}`,
    RUNPOD_ENDPOINT_ID: order.endpoint,
    RUNPOD_AI_API_KEY: key,
    RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=local`,
    RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local`,
    RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local`,
    RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=local`,
    RUNPOD_PING_INTERVAL: String(order.pingIntervalMs),
    // They look for a CUDA GPU and reach for 8.8.8.8: not on this machine.
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: 'true',
    RUNPOD_SKIP_GPU_CHECK: 'true',
    // The SDK's ping goes through `requests`, which would follow a developer's HTTP_PROXY even to this machine.
    NO_PROXY: withHost(process.env['NO_PROXY'], baseUrl),
    no_proxy: withHost(process.env['no_proxy'], baseUrl),
    WORKER_INDEX: String(order.slot),
  };
}

function withHost(list: string | undefined, baseUrl: string): string {
  const { hostname } = new URL(baseUrl);
  return list === undefined || list === '' ? hostname : `${list},${hostname}`;
}

/** Sends a signal to a process group; a group that is already gone is fine. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) {
      throw error;
    }
  }
}

function keepOutput(order: WorkerProcess, parts: LauncherParts, streams: readonly NodeJS.ReadableStream[]): () => void {
  const name = `${order.endpoint}-${order.worker}`;
  if (parts.logDir !== undefined) {
    mkdirSync(parts.logDir, { recursive: true });
  }
  const file = parts.logDir === undefined ? null : createWriteStream(join(parts.logDir, `${name}.log`), { flags: 'a' });
  for (const stream of streams) {
    createInterface({ input: stream }).on('line', (line) => {
      file?.write(`${line}\n`);
      parts.echo?.(`[${name}] ${line}`);
    });
  }
  return () => {
    // The last lines may still be in the pipe when the process is gone.
    setImmediate(() => file?.end());
  };
}
