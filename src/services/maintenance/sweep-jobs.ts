import { jobStub } from '../../durable-objects/shared/stubs.ts';
import type { Env } from '../../env.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { requireConfig } from '../../config/schema.ts';
import { forgetJob, jobsOver, unfinishedJobs } from '../../storage/d1/jobs.ts';
import { readPlace, writePlace } from '../../storage/d1/sweep-cursors.ts';

/** How far past its deadline a job must be before the sweeper takes it for forgotten. */
const FORGOTTEN_MS = 120_000;
/** How far past its time to be kept a job must be; accounts that keep theirs longer have theirs looked at for nothing. */
const STAYED_MS = 3_600_000;
/** Woken per sweep; the rest waits for the next one. Each is one request to an object. */
const WAKE_AT_ONCE = 100;

/**
 * Wakes jobs that are past their deadline and still listed as unfinished: they lost their alarm (it is retried six times and
 * then lost, reference/cloudflare.md section 2) or the write that would have listed them as over. A listed job without an
 * object is forgotten. Answers how many were found; one that cannot be woken does not keep the others from it.
 */
export async function sweep(env: Env, now: number, log: Log = consoleLog): Promise<number> {
  const ids = await unfinishedJobs(env.DB, { before: now - FORGOTTEN_MS, limit: WAKE_AT_ONCE });
  const failed = await callEach(env, ids, 'wake');
  if (ids.length > 0) {
    log({ event: 'swept', found: ids.length, failed });
  }
  return ids.length;
}

/**
 * Wakes jobs that are over and still listed although their time to be kept has passed: they lost the alarm that removes them, or that
 * tells others of their end. So many per run, and the next run goes on behind them.
 */
export async function sweepOver(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const before = now - requireConfig(env).policy.retention * 1000 - STAYED_MS;
  const ids = await jobsOver(env.DB, { before, after: await readPlace(env.DB, 'jobs'), limit: WAKE_AT_ONCE });
  const failed = await callEach(env, ids, 'tidy');
  await writePlace(env.DB, 'jobs', ids.length < WAKE_AT_ONCE ? undefined : ids.at(-1));
  if (failed > 0) {
    log({ event: 'swept_over', found: ids.length, failed });
  }
}

/** Calls each job's object, and forgets a listed job that has none. Answers how many calls failed: those are met again. */
async function callEach(env: Env, ids: readonly string[], method: 'wake' | 'tidy'): Promise<number> {
  const called = await Promise.allSettled(
    ids.map(async (id) => {
      if (!(await jobStub(env, id)[method]())) {
        await forgetJob(env.DB, id);
      }
    }),
  );
  return called.filter((each) => each.status === 'rejected').length;
}
