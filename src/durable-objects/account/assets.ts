import type { Asset, InputUse, StoredFile } from '../../contract/assets.ts';

/**
 * The account's assets, which jobs use them, and what is being deleted. `place` orders the list. `uploaded`: a client sent the file
 * as an asset; without it only jobs brought it. A hash is `doomed` from the moment its file is given up until a while after R2 has
 * deleted it: in between nobody may be told that it is there.
 */
export const ASSETS = `
CREATE TABLE assets (
  sha256 TEXT PRIMARY KEY, place TEXT NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, content_type TEXT NOT NULL,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, uploaded INTEGER NOT NULL
);
CREATE INDEX assets_by_expiry ON assets (expires_at);
CREATE TABLE asset_uses (
  job TEXT NOT NULL, sha256 TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (job, sha256)
);
CREATE INDEX asset_uses_by_asset ON asset_uses (sha256);
CREATE TABLE doomed (sha256 TEXT PRIMARY KEY, at INTEGER NOT NULL, done INTEGER NOT NULL);
`;

/** How long a deleted hash is remembered: longer than a request that saw the file before it was deleted may still run. */
export const REMEMBER_DOOMED_MS = 3_600_000;
/** Most keys that R2 deletes in one call (R2's Workers API). */
const DELETE_AT_ONCE = 1_000;

const ASSET = 'sha256, size_bytes, content_type, created_at, expires_at';

/** All SQL of the account's assets. */
export class Assets {
  private readonly sql: SqlStorage;
  private readonly newPlace: () => string;

  constructor(sql: SqlStorage, newPlace: () => string) {
    this.sql = sql;
    this.newPlace = newPlace;
  }

  /** Notes a file that is in R2, or that it was used again: it then expires no earlier than it would have. */
  keep(file: StoredFile, uploaded: boolean, expires_at: number): Asset {
    return this.sql
      .exec<Asset>(
        `INSERT INTO assets (sha256, place, size_bytes, content_type, created_at, expires_at, uploaded) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (sha256) DO UPDATE SET
           expires_at = max(expires_at, excluded.expires_at), uploaded = max(uploaded, excluded.uploaded)
         RETURNING ${ASSET}`,
        file.sha256,
        this.newPlace(),
        file.size_bytes,
        file.content_type,
        file.created_at,
        expires_at,
        uploaded ? 1 : 0,
      )
      .one();
  }

  find(sha256: string): Asset | null {
    return this.sql.exec<Asset>(`SELECT ${ASSET} FROM assets WHERE sha256 = ?`, sha256).toArray()[0] ?? null;
  }

  /** What all assets have together. */
  storedBytes(): number {
    return this.sql.exec<{ n: number }>('SELECT coalesce(sum(size_bytes), 0) AS n FROM assets').one().n;
  }

  /** Newest first; `before`: the place of the last one seen. */
  list(limit: number, before: string | null): (Asset & { place: string })[] {
    return this.sql
      .exec<Asset & { place: string }>(
        `SELECT ${ASSET}, place FROM assets WHERE place < ? ORDER BY place DESC LIMIT ?`,
        before ?? '~',
        limit,
      )
      .toArray();
  }

  /** Those of a job's inputs whose files are being deleted, or were a moment ago. */
  gone(uses: readonly InputUse[]): string[] {
    return uses.filter(({ sha256, brought }) => !brought && this.isDoomed(sha256)).map(({ sha256 }) => sha256);
  }

  /** A job is to read these files; none of them is deleted before `until`, or before it says that it is over. */
  use(job: string, uses: readonly InputUse[], times: { now: number; until: number; expires_at: number }): void {
    for (const input of uses) {
      this.keep({ ...input, created_at: times.now }, false, times.expires_at);
      this.sql.exec(
        'INSERT OR REPLACE INTO asset_uses (job, sha256, until) VALUES (?, ?, ?)',
        job,
        input.sha256,
        times.until,
      );
    }
  }

  /** The job reads nothing any more. Its inputs were in use until now. */
  over(job: string, expires_at: number): void {
    this.sql.exec('UPDATE asset_uses SET until = 0 WHERE job = ?', job);
    this.sql.exec(
      'UPDATE assets SET expires_at = max(expires_at, ?) WHERE sha256 IN (SELECT sha256 FROM asset_uses WHERE job = ?)',
      expires_at,
      job,
    );
  }

  /** The job is erased. Returns the files that only jobs brought, and that no other job uses now. */
  forget(job: string): string[] {
    const used = this.sql
      .exec<{ sha256: string }>('DELETE FROM asset_uses WHERE job = ? RETURNING sha256', job)
      .toArray()
      .map(({ sha256 }) => sha256);
    return used.filter((sha256) => this.isLoose(sha256));
  }

  /** Whether a file came with a job and no job uses it. */
  isLoose(sha256: string): boolean {
    return (
      this.sql
        .exec(
          `SELECT 1 FROM assets WHERE sha256 = ? AND uploaded = 0
           AND NOT EXISTS (SELECT 1 FROM asset_uses WHERE asset_uses.sha256 = assets.sha256)`,
          sha256,
        )
        .toArray().length > 0
    );
  }

  /** Whether a job that is not over reads it. */
  isInUse(sha256: string, now: number): boolean {
    return (
      this.sql.exec('SELECT 1 FROM asset_uses WHERE sha256 = ? AND until > ? LIMIT 1', sha256, now).toArray().length > 0
    );
  }

  /** Files whose time is over and that no unfinished job reads. */
  expired(now: number): string[] {
    return this.sql
      .exec<{ sha256: string }>(
        `SELECT sha256 FROM assets WHERE expires_at <= ?1
         AND NOT EXISTS (SELECT 1 FROM asset_uses u WHERE u.sha256 = assets.sha256 AND u.until > ?1)
         ORDER BY expires_at LIMIT ?2`,
        now,
        DELETE_AT_ONCE,
      )
      .toArray()
      .map(({ sha256 }) => sha256);
  }

  /** From now on these files are not there; they are to be deleted from R2. */
  doom(hashes: readonly string[], now: number): void {
    for (const sha256 of hashes) {
      this.sql.exec('DELETE FROM assets WHERE sha256 = ?', sha256);
      this.sql.exec('DELETE FROM asset_uses WHERE sha256 = ?', sha256);
      this.sql.exec(
        'INSERT INTO doomed (sha256, at, done) VALUES (?, ?, 0) ON CONFLICT (sha256) DO UPDATE SET at = excluded.at, done = 0',
        sha256,
        now,
      );
    }
  }

  isDoomed(sha256: string): boolean {
    return this.sql.exec('SELECT 1 FROM doomed WHERE sha256 = ?', sha256).toArray().length > 0;
  }

  /** What is still to be deleted from R2. */
  toDelete(): string[] {
    return this.sql
      .exec<{ sha256: string }>('SELECT sha256 FROM doomed WHERE done = 0 ORDER BY at LIMIT ?', DELETE_AT_ONCE)
      .toArray()
      .map(({ sha256 }) => sha256);
  }

  deleted(hashes: readonly string[]): void {
    for (const sha256 of hashes) {
      this.sql.exec('UPDATE doomed SET done = 1 WHERE sha256 = ?', sha256);
    }
  }

  /** A file that has been deleted may come again. */
  pardon(sha256: string): void {
    this.sql.exec('DELETE FROM doomed WHERE sha256 = ? AND done = 1', sha256);
  }

  forgetDeleted(now: number): void {
    this.sql.exec('DELETE FROM doomed WHERE done = 1 AND at <= ?', now - REMEMBER_DOOMED_MS);
  }

  /** When the first asset expires or the first deleted hash is forgotten; 0 while there is something to delete; null: never. */
  nextSweep(): number | null {
    return this.sql
      .exec<{ at: number | null }>(
        `SELECT min(at) AS at FROM (
           SELECT min(expires_at) AS at FROM assets UNION ALL SELECT min(at) + ${REMEMBER_DOOMED_MS} FROM doomed
           UNION ALL SELECT 0 FROM doomed WHERE done = 0
         )`,
      )
      .one().at;
  }
}
