import { jobStub } from '../../objects/stubs.ts';
import type { Env } from '../../env.ts';
import { unfinishedJobs } from '../../storage/d1/jobs.ts';

/** How far past its deadline a job must be before the sweeper takes it for forgotten. */
const FORGOTTEN_MS = 120_000;
/** Woken per sweep; the rest waits for the next one. Each is one request to an object. */
const WAKE_AT_ONCE = 100;

/**
 * Wakes jobs that are past their deadline and still listed as unfinished. An object's alarm is retried six times and then lost
 * (reference/cloudflare.md section 2); a job must end all the same.
 */
export async function sweep(env: Env, now: number): Promise<number> {
  const ids = await unfinishedJobs(env.DB, { before: now - FORGOTTEN_MS, limit: WAKE_AT_ONCE });
  await Promise.allSettled(ids.map((id) => jobStub(env, id).wake()));
  return ids.length;
}
