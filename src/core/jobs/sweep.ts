import { jobStub } from '../../objects/stubs.ts';
import type { Env } from '../../env.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { forgetJob, unfinishedJobs } from '../../storage/d1/jobs.ts';

/** How far past its deadline a job must be before the sweeper takes it for forgotten. */
const FORGOTTEN_MS = 120_000;
/** Woken per sweep; the rest waits for the next one. Each is one request to an object. */
const WAKE_AT_ONCE = 100;

/**
 * Wakes jobs that are past their deadline and still listed as unfinished: they lost their alarm (it is retried six times and
 * then lost, reference/cloudflare.md section 2) or the write that would have listed them as over. A listed job without an
 * object is forgotten. Answers how many were found; one that cannot be woken does not keep the others from it.
 */
export async function sweep(env: Env, now: number, log: Log = consoleLog): Promise<number> {
  const ids = await unfinishedJobs(env.DB, { before: now - FORGOTTEN_MS, limit: WAKE_AT_ONCE });
  const woken = await Promise.allSettled(
    ids.map(async (id) => {
      if (!(await jobStub(env, id).wake())) {
        await forgetJob(env.DB, id);
      }
    }),
  );
  const failed = woken.filter((each) => each.status === 'rejected').length;
  if (ids.length > 0) {
    log({ event: 'swept', found: ids.length, failed });
  }
  return ids.length;
}
