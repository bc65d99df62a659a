/** Length of the window in which submits are counted. */
export const WINDOW_S = 60;

export const SUBMITS = `
CREATE TABLE submits (window_start INTEGER PRIMARY KEY, count INTEGER NOT NULL);
`;

/** Counts the submits of the current window. Windows are fixed and aligned to the clock. */
export class SubmitCounter {
  private readonly sql: SqlStorage;
  /** The window that was read or written last. Only this instance writes it. */
  private known: { window: number; count: number } | null = null;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  /** Counts again, after a transaction was rolled back. */
  recount(): void {
    this.known = null;
  }

  count(now: number): number {
    return this.at(now).count;
  }

  add(now: number): void {
    const known = this.at(now);
    if (known.count === 0) {
      this.sql.exec('DELETE FROM submits WHERE window_start <> ?', known.window);
    }
    known.count += 1;
    this.sql.exec('INSERT OR REPLACE INTO submits (window_start, count) VALUES (?, ?)', known.window, known.count);
  }

  private at(now: number): { window: number; count: number } {
    const window = windowStart(now);
    if (this.known?.window !== window) {
      const row = this.sql
        .exec<{ count: number }>('SELECT count FROM submits WHERE window_start = ?', window)
        .toArray()[0];
      this.known = { window, count: row?.count ?? 0 };
    }
    return this.known;
  }
}

const windowStart = (now: number): number => Math.floor(now / 1000 / WINDOW_S) * WINDOW_S;

/** Whole seconds until the window ends; at least one. */
export const secondsLeftInWindow = (now: number): number =>
  Math.max(1, Math.ceil(windowStart(now) + WINDOW_S - now / 1000));
