import { z } from 'zod';
import { TERMINAL_STATUSES, type Status } from '../../contract/job.ts';

/** Table `usage`: the usage of each job. */

export type JobUsage = {
  id: string;
  account: string;
  key: string;
  endpoint: string;
  status: Status;
  completed_at: number;
  gpu_ms: number;
  micro_usd: number;
  price_per_second: number | null;
  metadata: Record<string, string>;
};

/** Writes a job's usage. A job finishes once, so a second call changes nothing. */
export function usageOf(db: D1Database, job: JobUsage): D1PreparedStatement {
  return db
    .prepare(
      `INSERT OR IGNORE INTO usage (job, account, key, endpoint, status, completed_at, gpu_ms, micro_usd, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    .bind(
      job.id,
      job.account,
      job.key,
      job.endpoint,
      job.status,
      job.completed_at,
      job.gpu_ms,
      job.price_per_second === null ? null : job.micro_usd,
      JSON.stringify(job.metadata),
    );
}

/** Removes a client's metadata from the usage of an erased job. The usage itself is kept. */
export const deleteUsageMetadata = (db: D1Database, job: string): D1PreparedStatement =>
  db.prepare("UPDATE usage SET metadata = '{}' WHERE job = ?").bind(job);

const jobRow = z.object({
  job: z.string(),
  key: z.string(),
  endpoint: z.string(),
  status: z.enum(TERMINAL_STATUSES),
  completed_at: z.number(),
  gpu_ms: z.number(),
  micro_usd: z.number().nullable(),
  // Only `usageOf` writes this column.
  metadata: z.string().transform((text): Record<string, string> => JSON.parse(text)),
});
export type JobUsageRow = z.infer<typeof jobRow>;

/**
 * Lists an account's jobs that ended in [from, to) with their usage, in order of their end. `after`: the last id of the
 * previous page.
 */
export async function listUsage(
  db: D1Database,
  account: string,
  { from, to, after, limit }: { from: number; to: number; after: string | null; limit: number },
): Promise<JobUsageRow[]> {
  const { sql, values } = usageQuery(account, { from, to, after, limit });
  const { results } = await db
    .prepare(sql)
    .bind(...values)
    .all();
  return results.map((each) => jobRow.parse(each));
}

export const usageQuery = (
  account: string,
  { from, to, after, limit }: { from: number; to: number; after: string | null; limit: number },
): { sql: string; values: unknown[] } => ({
  sql: `SELECT job, key, endpoint, status, completed_at, gpu_ms, micro_usd, metadata FROM usage
        WHERE account = ?1 AND completed_at >= ?2 AND completed_at < ?3
        ${after === null ? '' : 'AND (completed_at, job) > (SELECT completed_at, job FROM usage WHERE job = ?5 AND account = ?1)'}
        ORDER BY completed_at, job LIMIT ?4`,
  values: [account, from, to, limit, ...(after === null ? [] : [after])],
});

const row = z.object({
  day: z.string().nullable(),
  key: z.string().nullable(),
  jobs: z.number(),
  succeeded: z.number(),
  gpu_ms: z.number(),
  micro_usd: z.number(),
});
export type UsageRow = z.infer<typeof row>;

/** Sums the usage of an account's jobs that ended in [from, to), by UTC day, by key, or both. */
export async function sumUsage(
  db: D1Database,
  account: string,
  { from, to, by }: { from: number; to: number; by: readonly ('day' | 'key')[] },
): Promise<UsageRow[]> {
  const day = by.includes('day') ? "date(completed_at / 1000, 'unixepoch')" : 'NULL';
  const key = by.includes('key') ? 'key' : 'NULL';
  const { results } = await db
    .prepare(
      `SELECT ${day} AS day, ${key} AS key, count(*) AS jobs, sum(status = 'succeeded') AS succeeded,
         sum(gpu_ms) AS gpu_ms, coalesce(sum(micro_usd), 0) AS micro_usd
       FROM usage WHERE account = ? AND completed_at >= ? AND completed_at < ? GROUP BY 1, 2 ORDER BY 1, 2`,
    )
    .bind(account, from, to)
    .all();
  return results.map((each) => row.parse(each));
}
