import type { AccountLimits, OwnLimits } from '../../contract/limits.ts';
import type { Config } from '../../config/schema.ts';
import { storedJson } from '../../lib/stored-json.ts';

/** One row: the account's limits that differ from the configured ones, as JSON. */
export const LIMIT_OVERRIDES = `
CREATE TABLE limit_overrides (one INTEGER PRIMARY KEY CHECK (one = 1), limits TEXT NOT NULL);
`;

/** The limits of the account: its own where it has some, else the configured ones. */
export class Limits {
  private readonly sql: SqlStorage;
  /** The row, once it was read. Only this instance writes it. */
  private overrides: Partial<AccountLimits> | null = null;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  of({ limits, policy }: Config): AccountLimits {
    const { jobs_in_flight, max_queued, submits_per_minute, usd_per_day, gpu_seconds_per_day, stored_bytes } = limits;
    return {
      jobs_in_flight,
      max_queued,
      submits_per_minute,
      usd_per_day,
      gpu_seconds_per_day,
      stored_bytes,
      retention: policy.retention,
      asset_retention: policy.asset_retention,
      ...(this.overrides ??= this.read()),
    };
  }

  set(own: OwnLimits): void {
    this.sql.exec('INSERT OR REPLACE INTO limit_overrides (one, limits) VALUES (1, ?)', JSON.stringify(own));
    this.overrides = null;
  }

  private read(): Partial<AccountLimits> {
    const row = this.sql.exec<{ limits: string }>('SELECT limits FROM limit_overrides').toArray()[0];
    // Only `set` writes it.
    return row === undefined ? {} : storedJson<Partial<AccountLimits>>(row.limits);
  }
}
