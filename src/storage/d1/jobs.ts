import { z } from 'zod';
import { listQuery, type JobFilters, type ListedPage } from './job-list.ts';
import { deleteUsageMetadata, usageOf, type JobUsage } from './usage.ts';
import { idFloor } from '../../lib/ids.ts';
import { STATUSES, type JobError, type JobView } from '../../contract/job.ts';

/**
 * Tables `jobs` and `job_metadata`: the projection of the Job objects, for lists and for the
 * sweep.
 */

/** A job in a list. Times are in ms since the epoch. */
export type JobSummary = Pick<
  JobView,
  'id' | 'endpoint' | 'status' | 'created_at' | 'started_at' | 'completed_at' | 'error' | 'metadata'
>;

const json = <T>(text: string): T => JSON.parse(text);

const row = z.object({
  id: z.string(),
  endpoint: z.string(),
  status: z.enum(STATUSES),
  created_at: z.number(),
  started_at: z.number().nullable(),
  completed_at: z.number().nullable(),
  // Only `projectJob` writes this column.
  error: z
    .string()
    .transform(json<JobError>)
    .nullable(),
  metadata: z.string().transform(json<Record<string, string>>),
});

/**
 * Makes the statements of one batch that write a job's current view and, when it has finished, its usage. An older view
 * never overwrites a newer one, because views may arrive late and out of order.
 */
export function projectionOf(
  db: D1Database,
  view: JobView,
  usage: JobUsage | null = null,
  submit_ms: number | null = null,
): D1PreparedStatement[] {
  // A column that is not set adds no row to its indexes.
  const changes = ['status = ?4', 'started_at = ?6', 'error = ?9', 'version = ?11'];
  if (view.completed_at !== null) {
    changes.push('completed_at = ?7');
  }
  if (view.start_deadline !== null) {
    changes.push('deadline = ?8');
  }
  const listed = db
    .prepare(
      `INSERT INTO jobs (id, account, endpoint, status, created_at, started_at, completed_at, deadline, error, metadata, version, key, submit_ms)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
       ON CONFLICT (id) DO UPDATE SET ${changes.join(', ')} WHERE excluded.version > jobs.version`,
    )
    .bind(
      view.id,
      view.account,
      view.endpoint,
      view.status,
      view.created_at,
      view.started_at,
      view.completed_at,
      // The sweep reads this: the time by which the job must have made progress.
      view.started_at === null ? (view.start_deadline ?? view.deadline) : view.deadline,
      view.error === null ? null : JSON.stringify(view.error),
      JSON.stringify(view.metadata),
      view.last_event,
      view.key,
      submit_ms,
    );
  const pairs = Object.keys(view.metadata).length === 0 ? [] : [pairsOf(db, view)];
  return [listed, ...pairs, ...(usage === null ? [] : [usageOf(db, usage)])];
}

/** Executes `projectionOf`. */
export async function projectJob(
  db: D1Database,
  view: JobView,
  usage: JobUsage | null = null,
  submit_ms: number | null = null,
): Promise<void> {
  await db.batch(projectionOf(db, view, usage, submit_ms));
}

/** Metadata never changes, so this writes only the first time. */
const pairsOf = (db: D1Database, { id, account, metadata }: JobView): D1PreparedStatement =>
  db
    .prepare(
      `INSERT OR IGNORE INTO job_metadata (account, name, value, job)
       SELECT ?1, pair.key, pair.value, ?2 FROM json_each(?3) AS pair`,
    )
    .bind(account, id, JSON.stringify(metadata));

/**
 * Lists an account's jobs, newest first. `before`: the last id of the previous page. Ids are UUIDv7 and sort by age.
 */
export async function listJobs(
  db: D1Database,
  account: string,
  filters: JobFilters,
  page: ListedPage,
): Promise<JobSummary[]> {
  const { sql, values } = listQuery(account, filters, page);
  const { results } = await db
    .prepare(sql)
    .bind(...values)
    .all();
  return results.map((each) => row.parse(each));
}

/**
 * Returns the ids of unfinished jobs whose deadline (ms) has passed. Their objects may have lost an alarm. Reads all
 * unfinished jobs.
 */
export async function unfinishedJobs(db: D1Database, page: { before: number; limit: number }): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT id FROM jobs INDEXED BY jobs_by_account_unfinished WHERE completed_at IS NULL AND deadline < ?
       ORDER BY deadline LIMIT ?`,
    )
    .bind(page.before, page.limit)
    .all();
  return results.map((each) => z.object({ id: z.string() }).parse(each).id);
}

/** Returns the ids of jobs that finished before `before` (ms), in order of their ids, after the id `after`. */
export async function finishedJobs(
  db: D1Database,
  page: { before: number; after: string | undefined; limit: number },
): Promise<string[]> {
  const { results } = await db
    .prepare('SELECT id FROM jobs WHERE id > ?1 AND id < ?2 AND completed_at < ?3 ORDER BY id LIMIT ?4')
    .bind(page.after ?? '', idFloor(page.before), page.before, page.limit)
    .all();
  return results.map((each) => z.object({ id: z.string() }).parse(each).id);
}

/**
 * Removes a job from the lists. Its usage is kept. `erased`: a client erased the job, so the client's metadata is also
 * removed from the usage.
 */
export async function deleteJob(db: D1Database, id: string, erased = false): Promise<void> {
  const pairs = db
    .prepare(
      `DELETE FROM job_metadata WHERE (account, name, value, job) IN
         (SELECT jobs.account, pair.key, pair.value, jobs.id FROM jobs, json_each(jobs.metadata) AS pair WHERE jobs.id = ?)`,
    )
    .bind(id);
  const line = db.prepare('DELETE FROM jobs WHERE id = ?').bind(id);
  await db.batch([pairs, line, ...(erased ? [deleteUsageMetadata(db, id)] : [])]);
}
