import { onTestFinished } from 'vitest';
import { ManualClock } from '../clock.ts';
import { type RunningRunpod, type RunpodOptions, type RunpodParts, startRunpod } from '../index.ts';
import type { Exit, Launcher, WorkerProcess } from '../platform/processes.ts';
import { type Caller, callerOf } from './caller.ts';

/** One endpoint without processes: workers attach by calling. */
export const attachedOnly: RunpodOptions = { port: 0, endpoints: [{ id: 'e1', workers: {} }] };

/** Starts a platform that is closed when the test ends. */
export async function startForTest(options: RunpodOptions, parts: RunpodParts = {}): Promise<RunningRunpod & Caller> {
  const running = await startRunpod({ ...options, port: 0 }, parts);
  onTestFinished(() => running.close());
  return { ...callerOf(running.url), ...running };
}

/** The same with a clock that moves only by `advance`. */
export async function startFrozen(
  options: RunpodOptions = attachedOnly,
  parts: RunpodParts = {},
): Promise<RunningRunpod & Caller & { clock: ManualClock }> {
  const clock = new ManualClock();
  return { ...(await startForTest(options, { clock, ...parts })), clock };
}

/** Workers without processes: a test reads the started ones and ends them. */
export function paperWorkers(): {
  launcher: Launcher;
  orders: WorkerProcess[];
  signals: string[];
  end: (worker: string, exit?: Partial<Exit>) => void;
} {
  const orders: WorkerProcess[] = [];
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
