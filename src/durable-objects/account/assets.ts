import type { Asset, InputUse, StoredFile } from '../../contract/assets.ts';

/**
 * The account's assets, the jobs that use them, and pending deletions. `position` orders the list. `uploaded`: a client
 * sent the file as an asset; otherwise jobs brought it. A hash is in `pending_deletions` from the moment its row goes
 * until an hour after R2 has deleted the file. Meanwhile no request may be answered that the file exists.
 */
export const ASSETS = `
CREATE TABLE assets (
  sha256 TEXT PRIMARY KEY, position TEXT NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, content_type TEXT NOT NULL,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, uploaded INTEGER NOT NULL
);
CREATE INDEX assets_by_expiry ON assets (expires_at);
CREATE TABLE asset_uses (
  job TEXT NOT NULL, sha256 TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (job, sha256)
);
CREATE INDEX asset_uses_by_asset ON asset_uses (sha256);
CREATE TABLE pending_deletions (sha256 TEXT PRIMARY KEY, at INTEGER NOT NULL, done INTEGER NOT NULL);
`;

/** How long a deleted hash is kept: longer than a request may run that saw the file before its deletion. */
export const REMEMBER_DELETED_MS = 3_600_000;
/** Most keys that R2 deletes in one call (R2's Workers API). */
const DELETE_AT_ONCE = 1_000;

const ASSET = 'sha256, size_bytes, content_type, created_at, expires_at';

/** All SQL of the account's assets. */
export class Assets {
  private readonly sql: SqlStorage;
  private readonly newPosition: () => string;

  constructor(sql: SqlStorage, newPlace: () => string) {
    this.sql = sql;
    this.newPosition = newPlace;
  }

  /** Records a file in R2. A known file keeps the later of the two expiry times. */
  record(file: StoredFile, uploaded: boolean, expires_at: number): Asset {
    return this.sql
      .exec<Asset>(
        `INSERT INTO assets (sha256, position, size_bytes, content_type, created_at, expires_at, uploaded) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (sha256) DO UPDATE SET
           expires_at = max(expires_at, excluded.expires_at), uploaded = max(uploaded, excluded.uploaded)
         RETURNING ${ASSET}`,
        file.sha256,
        this.newPosition(),
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

  /** The size of all assets together. */
  storedBytes(): number {
    return this.sql.exec<{ n: number }>('SELECT coalesce(sum(size_bytes), 0) AS n FROM assets').one().n;
  }

  /** Newest first; `before`: the position of the last one seen. */
  list(limit: number, before: string | null): (Asset & { position: string })[] {
    return this.sql
      .exec<Asset & { position: string }>(
        `SELECT ${ASSET}, position FROM assets WHERE position < ? ORDER BY position DESC LIMIT ?`,
        before ?? '~',
        limit,
      )
      .toArray();
  }

  /** The inputs of a job whose files are pending deletion or were deleted within the last hour. */
  missing(uses: readonly InputUse[]): string[] {
    return uses
      .filter(({ sha256, attached }) => !attached && this.isPendingDeletion(sha256))
      .map(({ sha256 }) => sha256);
  }

  /** Records that a job reads these files. They are not deleted before `until` or before the job has finished. */
  use(job: string, uses: readonly InputUse[], times: { now: number; until: number; expires_at: number }): void {
    for (const input of uses) {
      this.record({ ...input, created_at: times.now }, false, times.expires_at);
      this.sql.exec(
        'INSERT OR REPLACE INTO asset_uses (job, sha256, until) VALUES (?, ?, ?)',
        job,
        input.sha256,
        times.until,
      );
    }
  }

  /** The job has finished, and its inputs expire from now on. */
  endUses(job: string, expires_at: number): void {
    this.sql.exec('UPDATE asset_uses SET until = 0 WHERE job = ?', job);
    this.sql.exec(
      'UPDATE assets SET expires_at = max(expires_at, ?) WHERE sha256 IN (SELECT sha256 FROM asset_uses WHERE job = ?)',
      expires_at,
      job,
    );
  }

  /** Deletes the uses of an erased job. Returns the files that jobs brought and that no other job uses. */
  deleteUses(job: string): string[] {
    const used = this.sql
      .exec<{ sha256: string }>('DELETE FROM asset_uses WHERE job = ? RETURNING sha256', job)
      .toArray()
      .map(({ sha256 }) => sha256);
    return used.filter((sha256) => this.isUnreferenced(sha256));
  }

  /** Whether a job brought the file and no job uses it. */
  isUnreferenced(sha256: string): boolean {
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

  /** Whether an unfinished job reads it. */
  isInUse(sha256: string, now: number): boolean {
    return (
      this.sql.exec('SELECT 1 FROM asset_uses WHERE sha256 = ? AND until > ? LIMIT 1', sha256, now).toArray().length > 0
    );
  }

  /** Expired files that no unfinished job reads. */
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

  /** Removes files from the list and marks them for deletion from R2. */
  markForDeletion(hashes: readonly string[], now: number): void {
    for (const sha256 of hashes) {
      this.sql.exec('DELETE FROM assets WHERE sha256 = ?', sha256);
      this.sql.exec('DELETE FROM asset_uses WHERE sha256 = ?', sha256);
      this.sql.exec('INSERT OR REPLACE INTO pending_deletions (sha256, at, done) VALUES (?, ?, 0)', sha256, now);
    }
  }

  isPendingDeletion(sha256: string): boolean {
    return this.sql.exec('SELECT 1 FROM pending_deletions WHERE sha256 = ?', sha256).toArray().length > 0;
  }

  /** Files to delete from R2. */
  pendingDeletions(): string[] {
    return this.sql
      .exec<{ sha256: string }>(
        'SELECT sha256 FROM pending_deletions WHERE done = 0 ORDER BY at LIMIT ?',
        DELETE_AT_ONCE,
      )
      .toArray()
      .map(({ sha256 }) => sha256);
  }

  confirmDeleted(hashes: readonly string[]): void {
    for (const sha256 of hashes) {
      this.sql.exec('UPDATE pending_deletions SET done = 1 WHERE sha256 = ?', sha256);
    }
  }

  /** Lets a deleted file be stored again. */
  undelete(sha256: string): void {
    this.sql.exec('DELETE FROM pending_deletions WHERE sha256 = ? AND done = 1', sha256);
  }

  purgeDeleted(now: number): void {
    this.sql.exec('DELETE FROM pending_deletions WHERE done = 1 AND at <= ?', now - REMEMBER_DELETED_MS);
  }

  /**
   * When the next asset expires or deleted hash is purged; 0 while a deletion is pending; null when there is nothing to
   * sweep.
   */
  nextSweep(): number | null {
    return this.sql
      .exec<{ at: number | null }>(
        `SELECT min(at) AS at FROM (
           SELECT min(expires_at) AS at FROM assets UNION ALL SELECT min(at) + ${REMEMBER_DELETED_MS} FROM pending_deletions
           UNION ALL SELECT 0 FROM pending_deletions WHERE done = 0
         )`,
      )
      .one().at;
  }
}
