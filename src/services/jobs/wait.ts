import { isTerminal, type JobView } from '../../contract/job.ts';
import type { WatchFrame } from '../../contract/events.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import type { Result } from '../../domain/result.ts';
import { getJob } from './get.ts';
import { watch } from './watch.ts';

/** Longest wait of one request, in seconds. Proxies cut a silent answer at about 100 s (reference/http-api.md point 5: at most 60). */
export const MAX_WAIT_S = 60;

/** What a waiting client waits for: the job's end, or anything new after an event it has seen. */
export type WaitFor = { until: 'over' } | { until: 'changed'; after: number };

/**
 * The job once it is what the caller waits for, or as it is after `seconds`. The wait costs the job nothing: it is one more
 * watcher, and leaves with the request, or when `signal` says that the client has left.
 */
export async function waitForJob(
  core: Core,
  caller: Caller,
  id: string,
  wait: WaitFor,
  seconds: number,
  signal: AbortSignal | null = null,
): Promise<Result<JobView, CoreProblem>> {
  const now = await getJob(core, caller, id);
  if (!now.ok || seconds <= 0 || isThere(now.value, wait)) {
    return now;
  }
  const watched = await watch(core, caller, id, now.value.last_event);
  if (watched.ok && watched.value !== null) {
    await ready(watched.value, wait, seconds * 1000, signal);
  }
  return getJob(core, caller, id);
}

/**
 * The job that was just submitted, once it is over, or as it is after `seconds`. It has been taken, whatever becomes of the waiting:
 * if that fails, the job is answered as it was.
 */
export async function waitAfterSubmit(
  core: Core,
  caller: Caller,
  submitted: JobView,
  seconds: number,
  signal: AbortSignal | null = null,
): Promise<JobView> {
  try {
    const waited = await waitForJob(core, caller, submitted.id, { until: 'over' }, seconds, signal);
    return waited.ok ? waited.value : submitted;
  } catch {
    return submitted;
  }
}

const isThere = (job: JobView, wait: WaitFor): boolean =>
  isTerminal(job.status) || (wait.until === 'changed' && job.last_event > wait.after);

/** Resolves when a numbered frame (or, waiting for the end, the socket's end) comes, when the time is up, or when the client has left. */
function ready(socket: WebSocket, wait: WaitFor, patience_ms: number, signal: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      try {
        socket.close(1000, 'seen enough');
      } catch {
        // The object closed it first.
      }
      resolve();
    };
    const timer = setTimeout(done, patience_ms);
    signal?.addEventListener('abort', done);
    socket.addEventListener('close', done);
    socket.addEventListener('error', done);
    socket.addEventListener('message', (message) => {
      // The Job object sends WatchFrames only (durable-objects/job/sockets.ts).
      const frame = JSON.parse(String(message.data)) as WatchFrame;
      if (wait.until === 'changed' && 'id' in frame) {
        done();
      }
    });
    socket.accept();
    if (signal?.aborted === true) {
      done();
    }
  });
}
