import type { Env } from '../../env.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { requireConfig } from '../../config/schema.ts';
import { deleteJob, finishedJobs, unfinishedJobs } from '../../storage/d1/jobs.ts';
import { readSweepCursor, writeSweepCursor } from '../../storage/d1/sweep-cursors.ts';

/** How long past its deadline a job must be before the sweep wakes it. */
const OVERDUE_MS = 120_000;
/**
 * How long past the default retention a finished job must be. Jobs of accounts with a longer retention are checked
 * needlessly.
 */
const RETENTION_GRACE_MS = 3_600_000;
/** The most jobs woken per sweep, each with one object call. The next sweep continues. */
const WAKE_AT_ONCE = 100;

/**
 * Wakes jobs that are past their deadline and still listed as unfinished. They lost their alarm (Cloudflare drops it
 * after six retries, reference/cloudflare.md section 2) or the write that lists them as finished. Removes listed jobs
 * that have no object. Returns the number of jobs found. A job that cannot be woken does not stop the others.
 */
export async function sweepUnfinishedJobs(env: Env, now: number, log: Log = consoleLog): Promise<number> {
  const ids = await unfinishedJobs(env.DB, { before: now - OVERDUE_MS, limit: WAKE_AT_ONCE });
  const failed = await callEach(env, ids, 'rearm');
  if (ids.length > 0) {
    log({ event: 'unfinished_jobs_swept', found: ids.length, failed });
  }
  return ids.length;
}

/**
 * Wakes finished jobs that are still listed after their retention. They lost the alarm that removes them or that sends
 * their last notifications. Each run handles `WAKE_AT_ONCE` jobs, and the next run continues after them.
 */
export async function sweepFinishedJobs(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const before = now - requireConfig(env).policy.retention * 1000 - RETENTION_GRACE_MS;
  const ids = await finishedJobs(env.DB, { before, after: await readSweepCursor(env.DB, 'jobs'), limit: WAKE_AT_ONCE });
  const failed = await callEach(env, ids, 'collectGarbage');
  await writeSweepCursor(env.DB, 'jobs', ids.length < WAKE_AT_ONCE ? undefined : ids.at(-1));
  if (failed > 0) {
    log({ event: 'finished_jobs_swept', found: ids.length, failed });
  }
}

/**
 * Calls each job's object, and removes a listed job without one. Returns the number of failed calls, which are retried
 * later.
 */
async function callEach(env: Env, ids: readonly string[], method: 'rearm' | 'collectGarbage'): Promise<number> {
  const called = await Promise.allSettled(
    ids.map(async (id) => {
      if (!(await env.JOB.getByName(id)[method]())) {
        await deleteJob(env.DB, id);
      }
    }),
  );
  return called.filter((each) => each.status === 'rejected').length;
}
