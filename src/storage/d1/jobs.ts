import { z } from 'zod';
import { usageOf, type JobUsage } from './usage.ts';
import { STATUSES, type JobError, type JobView, type Status } from '../../contract/job.ts';

/** Table `jobs` (migrations/0001): the projection of the Job objects, for listing and for the sweeper. */

/** A job as it is listed. Times in ms since the epoch. */
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
  // What `projectJob` wrote, and nothing else writes here.
  error: z
    .string()
    .transform(json<JobError>)
    .nullable(),
  metadata: z.string().transform(json<Record<string, string>>),
});

/**
 * Writes what a job is now, and once it is over what it used. An older view never overwrites a newer one: views may arrive late and
 * out of order.
 */
export async function projectJob(db: D1Database, view: JobView, usage: JobUsage | null = null): Promise<void> {
  const listed = db
    .prepare(
      `INSERT INTO jobs (id, account, endpoint, status, created_at, started_at, completed_at, deadline, error, metadata, version)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
       ON CONFLICT (id) DO UPDATE SET
         status = ?4, started_at = ?6, completed_at = ?7, deadline = ?8, error = ?9, version = ?11
       WHERE excluded.version > jobs.version`,
    )
    .bind(
      view.id,
      view.account,
      view.endpoint,
      view.status,
      view.created_at,
      view.started_at,
      view.completed_at,
      // What the sweeper watches: the next time at which the job must have moved.
      view.started_at === null ? (view.start_deadline ?? view.deadline) : view.deadline,
      view.error === null ? null : JSON.stringify(view.error),
      JSON.stringify(view.metadata),
      view.last_event,
    );
  await (usage === null ? listed.run() : db.batch([listed, usageOf(db, usage)]));
}

/** Jobs of an account, newest first; `before` (an id) continues after the last one seen. Ids are version 7, so they sort by age. */
export async function listJobs(
  db: D1Database,
  account: string,
  page: { limit: number; before: string | null; status: Status | null },
): Promise<JobSummary[]> {
  const { results } = await db
    .prepare(
      `SELECT id, endpoint, status, created_at, started_at, completed_at, error, metadata FROM jobs
       WHERE account = ?1 ${page.before === null ? '' : 'AND id < ?2'} ${page.status === null ? '' : 'AND status = ?3'}
       ORDER BY id DESC LIMIT ?4`,
    )
    .bind(account, page.before ?? '', page.status ?? '', page.limit)
    .all();
  return results.map((each) => row.parse(each));
}

/** Ids of jobs that are not over although their deadline (ms) has passed: their objects may have lost an alarm. */
export async function unfinishedJobs(db: D1Database, page: { before: number; limit: number }): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT id FROM jobs WHERE status IN ('queued', 'running', 'canceling') AND deadline < ?
       ORDER BY deadline LIMIT ?`,
    )
    .bind(page.before, page.limit)
    .all();
  return results.map((each) => z.object({ id: z.string() }).parse(each).id);
}

/** Removes a job whose retention has passed. */
export async function forgetJob(db: D1Database, id: string): Promise<void> {
  await db.prepare('DELETE FROM jobs WHERE id = ?').bind(id).run();
}
