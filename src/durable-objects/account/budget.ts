import type { Used } from '../../contract/admission.ts';

/** The cost of the account's jobs, by the UTC day on which they finished. Only the current day is kept. */
export const SPEND = `
CREATE TABLE spend (day INTEGER PRIMARY KEY, gpu_ms INTEGER NOT NULL, micro_usd INTEGER NOT NULL);
`;

const DAY_MS = 86_400_000;

/** All SQL of the account's daily spend. */
export class DailySpend {
  private readonly sql: SqlStorage;
  /** Rows of days before this one are deleted. */
  private day: number | null = null;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  today(now: number): Used {
    const row = this.sql.exec<Used>('SELECT gpu_ms, micro_usd FROM spend WHERE day = ?', dayOf(now)).toArray()[0];
    return row ?? { gpu_ms: 0, micro_usd: 0 };
  }

  add(used: Used, now: number): void {
    if (this.day !== dayOf(now)) {
      this.sql.exec('DELETE FROM spend WHERE day < ?', dayOf(now));
      this.day = dayOf(now);
    }
    this.sql.exec(
      `INSERT INTO spend (day, gpu_ms, micro_usd) VALUES (?, ?, ?)
       ON CONFLICT (day) DO UPDATE SET gpu_ms = gpu_ms + excluded.gpu_ms, micro_usd = micro_usd + excluded.micro_usd`,
      dayOf(now),
      Math.round(used.gpu_ms),
      Math.round(used.micro_usd),
    );
  }
}

const dayOf = (now: number): number => Math.floor(now / DAY_MS);

/** Whole seconds until the next UTC day. */
export const secondsUntilTomorrow = (now: number): number => Math.ceil(((dayOf(now) + 1) * DAY_MS - now) / 1000);
