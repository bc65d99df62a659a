import { listUsage, sumUsage, type JobUsageRow, type UsageRow } from '../../storage/d1/usage.ts';
import type { Caller, Core } from '../context.ts';
import { readCursor, writeCursor } from '../../lib/cursor.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

const DAY_MS = 86_400_000;
/** Jobs read at once for an export. One D1 result holds far more, even with the longest metadata. */
const EXPORT_PAGE = 500;

export type { JobUsageRow };
export type UsageGroup = 'day' | 'key';

/** A range of days in UTC, including both ends. */
export type Days = { from: string; to: string };

const spanOf = ({ from, to }: Days): { from: number; to: number } => ({
  from: Date.parse(from),
  to: Date.parse(to) + DAY_MS,
});

/** Returns the total usage of the caller's jobs that ended in these days. */
export async function usageOf(
  core: Core,
  caller: Caller,
  { by, ...days }: Days & { by: readonly UsageGroup[] },
): Promise<Result<UsageRow[], never>> {
  return ok(await sumUsage(core.env.DB, caller.account, { ...spanOf(days), by }));
}

/** Returns a page of the jobs that ended in these days, in order of their end, each with its usage. */
export async function usageByJob(
  core: Core,
  caller: Caller,
  days: Days,
  page: { limit: number; cursor: string | null },
): Promise<Result<{ jobs: JobUsageRow[]; next_cursor: string | null }, CoreProblem>> {
  const after = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && after === null) {
    return fail({ code: 'invalid_cursor', detail: 'the cursor is none that this list has answered with' });
  }
  // One more row than requested shows whether another page exists.
  const found = await listUsage(core.env.DB, caller.account, { ...spanOf(days), after, limit: page.limit + 1 });
  const jobs = found.slice(0, page.limit);
  const last = jobs.at(-1);
  return ok({ jobs, next_cursor: found.length > page.limit && last !== undefined ? writeCursor(last.job) : null });
}

/** Yields the same for all pages. A job that ends during the export is included when its day is in the range. */
export async function* usageLines(core: Core, caller: Caller, days: Days): AsyncGenerator<JobUsageRow[]> {
  for (let after: string | null = null; ;) {
    const rows: JobUsageRow[] = await listUsage(core.env.DB, caller.account, {
      ...spanOf(days),
      after,
      limit: EXPORT_PAGE,
    });
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < EXPORT_PAGE) {
      return;
    }
    after = last.job;
  }
}
