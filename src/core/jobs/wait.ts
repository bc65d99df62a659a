import { isTerminal, type JobView } from '../../contract/job.ts';
import type { WatchFrame } from '../../contract/events.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../problems.ts';
import type { Result } from '../result.ts';
import { getJob } from './get.ts';
import { watch } from './watch.ts';

/** Longest wait of one request, in seconds. Proxies cut a silent answer at about 100 s (reference/http-api.md point 5: at most 60). */
export const MAX_WAIT_S = 60;

/** What a waiting client waits for: the job's end, or anything new after an event it has seen. */
export type WaitFor = { until: 'over' } | { until: 'changed'; after: number };

/**
 * The job once it is what the caller waits for, or as it is after `seconds`. The wait costs the job nothing: it is one more
 * watcher, and leaves with the request.
 */
export async function waitForJob(
  core: Core,
  caller: Caller,
  id: string,
  wait: WaitFor,
  seconds: number,
): Promise<Result<JobView, CoreProblem>> {
  const now = await getJob(core, caller, id);
  if (!now.ok || seconds <= 0 || isThere(now.value, wait)) {
    return now;
  }
  const watched = await watch(core, caller, id, now.value.last_event);
  if (watched.ok && watched.value !== null) {
    await ready(watched.value, wait, seconds * 1000);
  }
  return getJob(core, caller, id);
}

const isThere = (job: JobView, wait: WaitFor): boolean =>
  isTerminal(job.status) || (wait.until === 'changed' && job.last_event > wait.after);

/** Resolves when a numbered frame (or, waiting for the end, the socket's end) comes, or when the time is up. */
function ready(socket: WebSocket, wait: WaitFor, patience_ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      try {
        socket.close(1000, 'seen enough');
      } catch {
        // The object closed it first.
      }
      resolve();
    };
    const timer = setTimeout(done, patience_ms);
    socket.addEventListener('close', done);
    socket.addEventListener('error', done);
    socket.addEventListener('message', (message) => {
      // The Job object sends WatchFrames only (objects/job/sockets.ts).
      const frame = JSON.parse(String(message.data)) as WatchFrame;
      if (wait.until === 'changed' && 'id' in frame) {
        done();
      }
    });
    socket.accept();
  });
}
