import { listUsage, sumUsage, type JobUsageRow, type UsageRow } from '../../storage/d1/usage.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import { ok, type Result } from '../../domain/result.ts';
import { DAY_MS } from '../../lib/time.ts';
import { paginate, type Page, type PageRequest } from '../paginate.ts';

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
  context: ServiceContext,
  caller: Caller,
  { by, ...days }: Days & { by: readonly UsageGroup[] },
): Promise<Result<UsageRow[], never>> {
  return ok(await sumUsage(context.env.DB, caller.account, { ...spanOf(days), by }));
}

/** Returns a page of the jobs that ended in these days, in order of their end, each with its usage. */
export const usageByJob = (
  context: ServiceContext,
  caller: Caller,
  days: Days,
  page: PageRequest,
): Promise<Result<Page<JobUsageRow>, Problem>> =>
  paginate(
    page,
    ({ limit, after }) => listUsage(context.env.DB, caller.account, { ...spanOf(days), after, limit }),
    ({ job }) => job,
  );

/** Yields the rows of all pages of `usageByJob`. Includes a job that ends during the export on a day in the range. */
export async function* usageLines(context: ServiceContext, caller: Caller, days: Days): AsyncGenerator<JobUsageRow[]> {
  for (let after: string | null = null; ;) {
    const rows: JobUsageRow[] = await listUsage(context.env.DB, caller.account, {
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
