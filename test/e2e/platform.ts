import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ComfyEdge, type Job, type JobEvent, isFinal } from '../../clients/sdk/index.ts';
import { ensureEnvironment } from '../../local/python/environment.ts';
import type { PlatformEvent } from '../../local/runpod/index.ts';
import { Contract, checkedAgainst } from '../../src/testing/contract/contract.ts';
import { claimPort } from '../../local/stack/ports.ts';
import { type Stack, type StackOptions, startStack } from '../../local/stack/stack.ts';
import { newStateDirectory } from '../../local/stack/testing/state.ts';

const root = resolve(import.meta.dirname, '..', '..');

/** Longest wait for one condition. It only bounds a failure. */
export const WAIT_LIMIT_MS = 40_000;

/** Short timeouts, so that a test notices a lost worker or webhook; the defaults are ten times longer. */
export const QUICK_POLICY = { poll_interval: 1, channel_grace: 3, claim_grace: 4, cancel_grace: 5, deadline_grace: 3 };

export type Platform = Stack & {
  edge: ComfyEdge;
  /** `fetch` that checks every response against the OpenAPI document. The client `edge` uses it. */
  fetch: typeof fetch;
  /** Origin of the one worker's ComfyUI. */
  comfyui: string;
  /** Calls the admin API of the local RunPod (local/runpod/README.md). */
  admin(path: string, body?: unknown): Promise<unknown>;
  /** Waits for a matching event of the local RunPod; earlier events count too. */
  happened(filter: { type: PlatformEvent['type']; after?: number }): Promise<PlatformEvent>;
};

/** The whole platform in a folder of its own, with the real worker and the CPU engine and its probe nodes. */
export async function startPlatform(options: Partial<StackOptions> = {}): Promise<Platform> {
  const python = must(await ensureEnvironment({ root, signal: AbortSignal.timeout(300_000), report: () => undefined }));
  const directory = await newStateDirectory('platform');
  const comfyuiPort = must(await claimPort({ port: 0, purpose: 'ComfyUI', variable: 'COMFYUI_PORT' }));
  const { workerEnv, ...rest } = options;
  const stack = must(
    await startStack({
      root,
      directory,
      ports: { gateway: 0, runpod: 0 },
      python: python.python,
      comfyui: { path: join(root, 'local', 'comfyui') },
      workers: { min: 1, max: 1 },
      workerEnv: { COMFYUI_ARGS: '--probe-nodes', COMFYUI_PORT: String(comfyuiPort), ...workerEnv },
      policy: QUICK_POLICY,
      ...rest,
    }),
  );
  const broken: string[] = [];
  const checked = checkedFetch(stack.url, (fault) => broken.push(fault));
  const admin = async (path: string, body?: unknown): Promise<unknown> => {
    const method = body === undefined ? 'GET' : 'POST';
    const response = await fetch(`${stack.runpodAdmin}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok) {
      throw new Error(`${path}: ${response.status} ${await response.text()}`);
    }
    return response.json();
  };
  return {
    ...stack,
    fetch: checked,
    edge: new ComfyEdge({ url: stack.url, key: stack.key, fetch: checked }),
    comfyui: `http://127.0.0.1:${comfyuiPort}`,
    admin,
    happened: async ({ type, after = 0 }) => {
      const [event] = await stack.runpod.events.wait({ type, after }, WAIT_LIMIT_MS);
      return event ?? fail(`no ${type} within ${WAIT_LIMIT_MS} ms`, stack.logs);
    },
    stop: async () => {
      await stack.stop();
      rmSync(directory, { recursive: true, force: true });
      // The call threw each of them too, but a client may treat that as a lost connection.
      if (broken.length > 0) {
        throw new Error(broken.join('\n'));
      }
    },
  };
}

/** Reads the document on first use: the gateway may still be starting, or be killed by the test. */
function checkedFetch(gateway: string, note: (fault: string) => void): typeof fetch {
  let contract: Promise<Contract> | undefined;
  const served = (): Promise<Contract> =>
    (contract ??= fetch(`${gateway}/openapi.json`)
      .then(async (response) => new Contract(await response.json()))
      .catch((error: unknown) => {
        contract = undefined;
        throw error;
      }));
  const ask = checkedAgainst(served, note, (request) => fetch(request));
  return (input, init) => ask(new Request(input, init));
}

/** Collects a job's events after number `after` until the final one, over any number of connections. */
export async function eventsOf(edge: ComfyEdge, job: string, after = 0): Promise<JobEvent[]> {
  const events: JobEvent[] = [];
  for await (const event of edge.jobs.watch(job, { after, signal: AbortSignal.timeout(WAIT_LIMIT_MS) })) {
    events.push(event);
  }
  return events;
}

/** The first matching event. */
export async function until(edge: ComfyEdge, job: string, fits: (event: JobEvent) => boolean): Promise<JobEvent> {
  for await (const event of edge.jobs.watch(job, { after: 0, signal: AbortSignal.timeout(WAIT_LIMIT_MS) })) {
    if (fits(event)) {
      return event;
    }
  }
  return fail(`job ${job} ended before the event came`);
}

/** The finished job. */
export async function ended(edge: ComfyEdge, job: string): Promise<Job> {
  await eventsOf(edge, job);
  return edge.jobs.get(job);
}

export const executing = (event: JobEvent): boolean => event.event === 'progress' && event.data.current_node === '5';

/** Numbers of the events that have one. */
export const numbers = (events: readonly JobEvent[]): number[] =>
  events.flatMap((event) => ('id' in event && event.event !== 'snapshot' ? [event.id] : []));

/** Events with a final status. */
export const finals = (events: readonly JobEvent[]): JobEvent[] =>
  events.filter((event) => event.event === 'status' && isFinal(event.data.status));

export const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

/** One image, immediately. */
export const quickGraph = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0x3366cc } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};

/** One image after some seconds of progress. */
export const slowGraph = (seconds: number, steps = seconds * 10) => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0x3366cc } },
  '5': { class_type: 'SlowSteps', inputs: { image: ['1', 0], steps, seconds, preview: true } },
  '2': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 'slow' } },
});

function must<T>(outcome: { ok: true; value: T } | { ok: false; message: string; details: readonly string[] }): T {
  return outcome.ok ? outcome.value : fail([outcome.message, ...outcome.details].join('\n'));
}

/** Fails a test with the ends of the logs. */
function fail(message: string, logs?: string): never {
  const tails =
    logs === undefined
      ? []
      : readdirSync(logs)
          .filter((name) => name.endsWith('.log'))
          .map((name) => `--- ${name}\n${readFileSync(join(logs, name), 'utf8').slice(-2_000)}`);
  throw new Error([message, ...tails].join('\n'));
}
