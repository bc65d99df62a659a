import { z } from 'zod';
import { STATUSES } from '../../contract/job.ts';

/** Queries of the operator's metrics. Times are in ms since the epoch. A count without rows is 0. */

const unfinishedRow = z.object({
  endpoint: z.string(),
  status: z.enum(STATUSES),
  jobs: z.number(),
  stuck: z.number(),
  overdue: z.number(),
});

/**
 * Counts unfinished jobs by endpoint and status, those submitted before `stuckBefore` that have never started, and
 * those whose deadline passed before `overdueBefore`. Reads one row per unfinished job (index
 * `jobs_by_account_unfinished`).
 */
export async function unfinishedByEndpoint(
  db: D1Database,
  times: { stuckBefore: number; overdueBefore: number },
): Promise<z.infer<typeof unfinishedRow>[]> {
  const { results } = await db
    .prepare(
      `SELECT endpoint, status, count(*) AS jobs,
         sum(started_at IS NULL AND created_at < ?1) AS stuck, sum(deadline < ?2) AS overdue
       FROM jobs INDEXED BY jobs_by_account_unfinished WHERE completed_at IS NULL
       GROUP BY endpoint, status ORDER BY endpoint, status`,
    )
    .bind(times.stuckBefore, times.overdueBefore)
    .all();
  return results.map((each) => unfinishedRow.parse(each));
}

const submittedRow = z.object({ status: z.enum(STATUSES), jobs: z.number() });

/**
 * Counts jobs submitted since a time, by current status. Ids begin with their time (UUIDv7), so this reads only these
 * jobs.
 */
export async function submittedSince(db: D1Database, since: number): Promise<z.infer<typeof submittedRow>[]> {
  const { results } = await db
    .prepare('SELECT status, count(*) AS jobs FROM jobs WHERE id >= ? GROUP BY status ORDER BY status')
    .bind(firstIdAt(since))
    .all();
  return results.map((each) => submittedRow.parse(each));
}

const timeRow = z.object({ p50_ms: z.number().nullable(), p99_ms: z.number().nullable() });
export type Times = z.infer<typeof timeRow>;

/** The measured times of a job, in SQL; null when the job has not reached that point. */
const TIMES = { submit: 'submit_ms', start: 'started_at - created_at' } as const;

/**
 * Returns the median and the 99th percentile of the time to store or to start jobs submitted since a time. Null without
 * jobs.
 */
export async function timesOf(db: D1Database, what: keyof typeof TIMES, since: number): Promise<Times> {
  const row = await db
    .prepare(
      `WITH taken AS (SELECT ${TIMES[what]} AS ms FROM jobs WHERE id >= ?),
         placed AS (SELECT ms, row_number() OVER (ORDER BY ms) AS place, count(*) OVER () AS jobs FROM taken
           WHERE ms IS NOT NULL)
       SELECT min(CASE WHEN place >= jobs * 0.5 THEN ms END) AS p50_ms,
         min(CASE WHEN place >= jobs * 0.99 THEN ms END) AS p99_ms FROM placed`,
    )
    .bind(firstIdAt(since))
    .first();
  return timeRow.parse(row);
}

/** The smallest id of a time: 48 bits of time, then zeros (RFC 9562 section 5.7). */
const firstIdAt = (at: number): string => {
  const hex = at.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
};

const webhooksRow = z.object({ failing: z.number(), disabled: z.number(), since: z.number().nullable() });

/** Counts enabled webhooks that fail and disabled webhooks, and returns the start of the longest current failure. */
export async function webhookHealth(db: D1Database): Promise<z.infer<typeof webhooksRow>> {
  const row = await db
    .prepare(
      `SELECT (SELECT count(*) FROM webhooks WHERE failing_since IS NOT NULL AND enabled = 1) AS failing,
         (SELECT count(*) FROM webhooks WHERE enabled = 0) AS disabled,
         (SELECT min(failing_since) FROM webhooks WHERE failing_since IS NOT NULL AND enabled = 1) AS since`,
    )
    .first();
  return webhooksRow.parse(row);
}
