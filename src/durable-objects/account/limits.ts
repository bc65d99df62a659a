import type { AccountLimits, OwnLimits } from '../../contract/limits.ts';
import type { Config } from '../../config/schema.ts';
import { storedJson } from '../../lib/stored-json.ts';

/** One row: the account's limits that differ from the configured ones, as JSON. */
export const OWN_LIMITS = `
CREATE TABLE own_limits (one INTEGER PRIMARY KEY CHECK (one = 1), limits TEXT NOT NULL);
`;

/** The limits that hold for the account: its own where it has some, else the configured ones. */
export class Limits {
  private readonly sql: SqlStorage;
  /** What the row says, once it was read. Nobody else writes it. */
  private own: Partial<AccountLimits> | null = null;

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
      ...(this.own ??= this.read()),
    };
  }

  set(own: OwnLimits): void {
    this.sql.exec(
      'INSERT INTO own_limits (one, limits) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET limits = excluded.limits',
      JSON.stringify(own),
    );
    this.own = null;
  }

  private read(): Partial<AccountLimits> {
    const row = this.sql.exec<{ limits: string }>('SELECT limits FROM own_limits').toArray()[0];
    // Written by `set` only.
    return row === undefined ? {} : storedJson<Partial<AccountLimits>>(row.limits);
  }
}
