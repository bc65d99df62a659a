import { z } from 'zod';
import type { Status } from '../../contract/job.ts';

/** Table `usage` (migrations/0004): what each job used. */

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
};

/** Writes what a job used. A job is over once, so a second time changes nothing. */
export function usageOf(db: D1Database, job: JobUsage): D1PreparedStatement {
  return db
    .prepare(
      `INSERT OR IGNORE INTO usage (job, account, key, endpoint, status, completed_at, gpu_ms, micro_usd)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
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
    );
}

const row = z.object({
  day: z.string().nullable(),
  key: z.string().nullable(),
  jobs: z.number(),
  succeeded: z.number(),
  gpu_ms: z.number(),
  micro_usd: z.number(),
});
export type UsageRow = z.infer<typeof row>;

/** Sums of the jobs of an account that ended in [from, to), by UTC day, by key, or both. */
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
