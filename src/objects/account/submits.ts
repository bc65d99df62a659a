/** Width of the window that submits are counted in. */
export const WINDOW_S = 60;

export const SUBMITS = `
CREATE TABLE submits (window_start INTEGER PRIMARY KEY, count INTEGER NOT NULL);
`;

/** How many jobs were submitted in the window that is now: fixed windows, aligned to the clock. */
export class Submits {
  private readonly sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  count(now: number): number {
    return this.sql
      .exec<{ n: number }>('SELECT coalesce(sum(count), 0) AS n FROM submits WHERE window_start = ?', windowStart(now))
      .one().n;
  }

  add(now: number): void {
    this.sql.exec('DELETE FROM submits WHERE window_start <> ?', windowStart(now));
    this.sql.exec(
      'INSERT INTO submits (window_start, count) VALUES (?, 1) ON CONFLICT (window_start) DO UPDATE SET count = count + 1',
      windowStart(now),
    );
  }
}

const windowStart = (now: number): number => Math.floor(now / 1000 / WINDOW_S) * WINDOW_S;

/** Whole seconds until the window ends; at least one. */
export const windowLeft = (now: number): number => Math.max(1, Math.ceil(windowStart(now) + WINDOW_S - now / 1000));
