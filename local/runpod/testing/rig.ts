import { onTestFinished } from 'vitest';
import { z } from 'zod';
import { ManualClock } from '../clock.ts';
import { type RunningRunpod, type RunpodOptions, type RunpodParts, startRunpod } from '../index.ts';
import type { Exit, Launcher, WorkerOrder } from '../platform/processes.ts';

/** What an HTTP call came back with. */
export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

const anyObject = z.record(z.string(), z.unknown());

/** A caller of one running platform: client, worker and admin calls as plain HTTP. */
export function callerOf(url: string) {
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: 'Bearer test-key', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? {} : anyObject.parse(JSON.parse(text)) };
  };
  const asWorker = { authorization: 'local-runpod-worker-key' };
  return {
    call,
    get: (path: string) => call('GET', path),
    post: (path: string, body?: unknown) => call('POST', path, body),
    /** Submits a job and returns its id. */
    async run(endpoint: string, body: Record<string, unknown> = { input: {} }): Promise<string> {
      return z.string().parse((await call('POST', `/v2/${endpoint}/run`, body)).body['id']);
    },
    /** Takes the next job as an attached worker; resolves with its id. */
    async take(endpoint: string, worker: string): Promise<string> {
      const taken = await call(
        'GET',
        `/v2/${endpoint}/job-take/${worker}?gpu=x&job_in_progress=0`,
        undefined,
        asWorker,
      );
      return z.string().parse(taken.body['id']);
    },
    /** A GET of the worker API. */
    workerGet: (path: string) => call('GET', path, undefined, asWorker),
    /** A POST of the worker API, with the SDK's odd content type. */
    workerPost: (path: string, body: unknown) =>
      call('POST', path, body, { ...asWorker, 'content-type': 'application/x-www-form-urlencoded' }),
    /** Posts a result as the SDK does. */
    done: (endpoint: string, worker: string, job: string, result: unknown) =>
      call('POST', `/v2/${endpoint}/job-done/${worker}/${job}?gpu=x&isStream=false`, result, asWorker),
  };
}

export type Caller = ReturnType<typeof callerOf>;

/** One endpoint without processes: workers attach by calling. */
export const attachedOnly: RunpodOptions = { port: 0, endpoints: [{ id: 'e1', workers: {} }] };

/** Starts a platform that is closed when the test ends. */
export async function startForTest(options: RunpodOptions, parts: RunpodParts = {}): Promise<RunningRunpod & Caller> {
  const running = await startRunpod({ ...options, port: 0 }, parts);
  onTestFinished(() => running.close());
  return { ...callerOf(running.url), ...running };
}

/** The same with a clock that only moves when told to. */
export async function startFrozen(
  options: RunpodOptions = attachedOnly,
  parts: RunpodParts = {},
): Promise<RunningRunpod & Caller & { clock: ManualClock }> {
  const clock = new ManualClock();
  return { ...(await startForTest(options, { clock, ...parts })), clock };
}

/** Workers that exist on paper only: what was started can be read and made to end. */
export function paperWorkers(): {
  launcher: Launcher;
  orders: WorkerOrder[];
  signals: string[];
  end: (worker: string, exit?: Partial<Exit>) => void;
} {
  const orders: WorkerOrder[] = [];
  const signals: string[] = [];
  const ends = new Map<string, (exit: Exit) => void>();
  const end = (worker: string, exit: Partial<Exit> = {}): void =>
    ends.get(worker)?.({ code: 0, signal: null, problem: null, ...exit });
  return {
    orders,
    signals,
    end,
    launcher(order) {
      orders.push(order);
      return {
        pid: 1000 + orders.length,
        exited: new Promise((resolve) => {
          ends.set(order.worker, resolve);
        }),
        signal(signal) {
          signals.push(`${order.worker} ${signal}`);
          if (signal === 'SIGKILL') {
            end(order.worker, { code: null, signal });
          }
        },
      };
    },
  };
}
