import { isTerminal, type JobView } from '../../contract/job.ts';
import { readWatchFrame } from '../../contract/events.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import type { Result } from '../../domain/result.ts';
import { getJob } from './get.ts';
import { watch } from './watch.ts';

/**
 * The longest wait of one request, in seconds. Proxies cut a silent response after about 100 s (reference/http-api.md
 * point 5: at most 60).
 */
export const MAX_WAIT_S = 60;

/** The condition of a wait: the end of the job, or any event after the last one the client has seen. */
export type WaitFor = { until: 'finished' } | { until: 'changed'; after: number };

/**
 * Returns the job when the condition is met, or its current state after `seconds`. The wait is one more watcher of the
 * Job object, and ends with the request, or when `signal` aborts because the client has disconnected.
 */
export async function waitForJob(
  context: ServiceContext,
  caller: Caller,
  id: string,
  wait: WaitFor,
  seconds: number,
  signal: AbortSignal | null = null,
): Promise<Result<JobView, Problem>> {
  const now = await getJob(context, caller, id);
  if (!now.ok || seconds <= 0 || isReached(now.value, wait)) {
    return now;
  }
  const watched = await watch(context, caller, id, now.value.last_event);
  if (watched.ok && watched.value !== null) {
    await waitForChange(watched.value, wait, seconds * 1000, signal);
  }
  return getJob(context, caller, id);
}

/**
 * Returns a submitted job when it has finished, or its current state after `seconds`. The job is already accepted, so
 * when the wait fails, this returns the job as it was.
 */
export async function waitAfterSubmit(
  context: ServiceContext,
  caller: Caller,
  submitted: JobView,
  seconds: number,
  signal: AbortSignal | null = null,
): Promise<JobView> {
  try {
    const waited = await waitForJob(context, caller, submitted.id, { until: 'finished' }, seconds, signal);
    return waited.ok ? waited.value : submitted;
  } catch {
    return submitted;
  }
}

const isReached = (job: JobView, wait: WaitFor): boolean =>
  isTerminal(job.status) || (wait.until === 'changed' && job.last_event > wait.after);

/**
 * Resolves on a numbered frame (or, when waiting for the end, on close), at the timeout, or when the client has
 * disconnected.
 */
function waitForChange(
  socket: WebSocket,
  wait: WaitFor,
  timeout_ms: number,
  signal: AbortSignal | null,
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      try {
        socket.close(1000, 'done');
      } catch {
        // The object may have closed the socket first.
      }
      resolve();
    };
    const timer = setTimeout(done, timeout_ms);
    signal?.addEventListener('abort', done);
    socket.addEventListener('close', done);
    socket.addEventListener('error', done);
    socket.addEventListener('message', (message) => {
      // The Job object sends WatchFrames only (durable-objects/job/sockets.ts).
      if (wait.until === 'changed' && readWatchFrame(String(message.data)).id !== null) {
        done();
      }
    });
    socket.accept();
    if (signal?.aborted === true) {
      done();
    }
  });
}
