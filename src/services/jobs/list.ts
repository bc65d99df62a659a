import { NO_FILTERS, type JobFilters } from '../../storage/d1/job-list.ts';
import { listJobs as readJobs, type JobSummary } from '../../storage/d1/jobs.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import type { Result } from '../../domain/result.ts';
import { paginate, type Page, type PageRequest } from '../paginate.ts';

export type { JobFilters };

/** Returns a page of the caller's matching jobs, newest first. New jobs do not shift later pages. */
export const listJobs = (
  context: ServiceContext,
  caller: Caller,
  page: PageRequest,
  filters: JobFilters = NO_FILTERS,
): Promise<Result<Page<JobSummary>, Problem>> =>
  paginate(
    page,
    ({ limit, after }) => readJobs(context.env.DB, caller.account, filters, { limit, before: after }),
    ({ id }) => id,
  );
