import { NO_FILTERS, type JobFilters } from '../../storage/d1/job-list.ts';
import { listJobs as readJobs, type JobSummary } from '../../storage/d1/jobs.ts';
import type { Caller, Core } from '../context.ts';
import { readCursor, writeCursor } from '../../lib/cursor.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

export type { JobFilters };
export type JobPage = { jobs: JobSummary[]; next_cursor: string | null };

/** Returns a page of the caller's matching jobs, newest first. New jobs do not shift later pages. */
export async function listJobs(
  core: Core,
  caller: Caller,
  page: { limit: number; cursor: string | null },
  filters: JobFilters = NO_FILTERS,
): Promise<Result<JobPage, CoreProblem>> {
  const before = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && before === null) {
    return fail({ code: 'invalid_cursor', detail: 'the cursor is none that a list has answered with' });
  }
  // One more row than requested shows whether another page exists.
  const found = await readJobs(core.env.DB, caller.account, filters, { limit: page.limit + 1, before });
  const jobs = found.slice(0, page.limit);
  const last = jobs.at(-1);
  return ok({ jobs, next_cursor: found.length > page.limit && last !== undefined ? writeCursor(last.id) : null });
}
