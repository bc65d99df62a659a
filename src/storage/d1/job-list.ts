import { isTerminal, type Status } from '../../contract/job.ts';
import { idFloor } from '../../lib/ids.ts';

/** The query of `GET /v1/jobs`, on the tables `jobs` and `job_metadata`. */

/** The filters of a list. A job must match all of them. Times are in ms since the epoch. */
export type JobFilters = {
  /** Any of these statuses; an empty list matches all. */
  statuses: readonly Status[];
  endpoint: string | null;
  /** Id of an API key. */
  key: string | null;
  /** Created at this time or later. */
  created_after: number | null;
  /** Created before this time. */
  created_before: number | null;
  metadata: readonly (readonly [name: string, value: string])[];
};

export const NO_FILTERS: JobFilters = {
  statuses: [],
  endpoint: null,
  key: null,
  created_after: null,
  created_before: null,
  metadata: [],
};

/** A page of at most `limit` jobs, older than the job `before`. */
export type ListedPage = { limit: number; before: string | null };

const COLUMNS = 'id, endpoint, status, created_at, started_at, completed_at, error, metadata';

/**
 * An id contains its creation time, so an index over ids finds a time range. An id may be older than its job by the
 * lifetime of an idempotency key (a retry of an interrupted request uses the first id), and newer by the difference of
 * clocks.
 */
const ID_OLDER_MS = 25 * 3_600_000;
const ID_NEWER_MS = 60_000;

/**
 * The most statuses that are merged as separate ordered queries (D1 allows five terms). With more, most jobs match
 * anyway.
 */
const MAX_MERGED = 4;

/**
 * Builds the query. Each list reads one index from the newest entry on, so that a page reads only its rows and never
 * sorts. With a filter on metadata, key or endpoint it uses that index. Otherwise it merges the index of unfinished
 * jobs with that of each final status. Other filters are checked per row.
 */
export function listQuery(account: string, filters: JobFilters, page: ListedPage): { sql: string; values: unknown[] } {
  const values: unknown[] = [];
  const bind = (value: unknown): string => {
    values.push(value);
    return `?${values.length}`;
  };
  const owner = bind(account);
  const limit = bind(page.limit);
  const { statuses, endpoint, key, created_after, created_before, metadata } = filters;
  const span = (id: string): string[] => [
    ...(page.before === null ? [] : [`${id} < ${bind(page.before)}`]),
    ...(created_before === null ? [] : [`${id} < ${bind(idFloor(created_before + ID_NEWER_MS))}`]),
    ...(created_after === null ? [] : [`${id} >= ${bind(idFloor(created_after - ID_OLDER_MS))}`]),
  ];
  const rest = [
    ...(created_after === null ? [] : [`created_at >= ${bind(created_after)}`]),
    ...(created_before === null ? [] : [`created_at < ${bind(created_before)}`]),
    ...(endpoint === null ? [] : [`endpoint = ${bind(endpoint)}`]),
    ...(key === null ? [] : [`jobs.key = ${bind(key)}`]),
  ];
  const oneOf = (some: readonly Status[]): string[] =>
    some.length === 0 ? [] : [`status IN (${some.map(bind).join(', ')})`];
  const among = oneOf(statuses);
  const where = (conditions: string[]): string => `WHERE ${conditions.join(' AND ')}`;
  const [first, ...more] = metadata;
  if (first !== undefined) {
    const pairOf = (table: string, [name, value]: readonly [string, string]): string =>
      `${table}.account = ${owner} AND ${table}.name = ${bind(name)} AND ${table}.value = ${bind(value)}`;
    const others = more.map(
      (pair) => `EXISTS (SELECT 1 FROM job_metadata AS other WHERE ${pairOf('other', pair)} AND other.job = pair.job)`,
    );
    const conditions = [pairOf('pair', first), ...span('pair.job'), ...rest, ...among, ...others];
    // A CROSS JOIN keeps its order, so SQLite begins with the metadata pairs.
    const sql = `SELECT ${COLUMNS} FROM job_metadata AS pair CROSS JOIN jobs ON jobs.id = pair.job ${where(conditions)} ORDER BY pair.job DESC LIMIT ${limit}`;
    return { sql, values };
  }
  const conditions = [`account = ${owner}`, ...span('id'), ...rest];
  const walk = (index: string, all: string[]): string =>
    `SELECT ${COLUMNS} FROM jobs INDEXED BY ${index} ${where(all)}`;
  const single =
    key !== null
      ? walk('jobs_by_account_key', [...conditions, ...among])
      : endpoint !== null
        ? walk('jobs_by_account_endpoint', [...conditions, ...among])
        : statuses.length === 0 || statuses.length > MAX_MERGED
          ? walk('jobs_by_account', [...conditions, ...among])
          : null;
  const unfinished = statuses.filter((status) => !isTerminal(status));
  const parts =
    single === null
      ? [
          ...(unfinished.length === 0
            ? []
            : [walk('jobs_by_account_unfinished', [...conditions, 'completed_at IS NULL', ...oneOf(unfinished)])]),
          ...statuses
            .filter(isTerminal)
            .map((status) =>
              walk('jobs_by_account_finished', [...conditions, 'completed_at IS NOT NULL', ...oneOf([status])]),
            ),
        ]
      : [single];
  return { sql: `${parts.join(' UNION ALL ')} ORDER BY id DESC LIMIT ${limit}`, values };
}
