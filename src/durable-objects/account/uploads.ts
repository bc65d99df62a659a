import { PART_URL_LIFE_S, type NewUpload, type Upload } from '../../contract/assets.ts';

/**
 * Uploads in progress: what was agreed about each. R2 has the parts. A `closed` upload no longer exists for its client;
 * its row is kept until no part of it can arrive any more, and then its last parts are deleted with it. Until then it
 * counts as open, or opening and closing uploads could fill the bucket.
 */
export const UPLOADS = `
CREATE TABLE uploads (
  id TEXT PRIMARY KEY, status TEXT NOT NULL CHECK (status IN ('open', 'stored', 'closed')), sha256 TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, part_bytes INTEGER NOT NULL, name TEXT, created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX uploads_by_expiry ON uploads (expires_at);
`;

/** Uploads whose parts one sweep deletes: each takes a list and a delete of up to 1,000 parts. */
const CLEAR_AT_ONCE = 20;
/**
 * The longest life of an upload, however often it is extended. R2 aborts unfinished multipart uploads after the same
 * time.
 */
const UPLOAD_LIFE_MS = 7 * 86_400_000;
/** Life of a part's URL and of a put that begins at its end. After it no part of a closed upload can arrive. */
const CLOSED_LIFE_MS = (PART_URL_LIFE_S + 600) * 1000;

type UploadRow = Omit<Upload, 'status'> & { status: Upload['status'] | 'closed' };

/** All SQL of the account's uploads. */
export class Uploads {
  private readonly sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.sql = sql;
  }

  /** The open upload of the same file in the same parts. Extends its expiry. */
  findOpen(requested: NewUpload, now: number, life_ms: number): Upload | null {
    const row = this.sql
      .exec<{ id: string }>(
        `SELECT id FROM uploads
         WHERE status = 'open' AND sha256 = ? AND size_bytes = ? AND part_bytes = ? AND expires_at > ?`,
        requested.sha256,
        requested.size_bytes,
        requested.part_bytes,
        now,
      )
      .toArray()[0];
    return row === undefined ? null : this.find(row.id, now, life_ms);
  }

  /** The number of uploads whose parts may still arrive. */
  countOpen(now: number): number {
    return this.sql
      .exec<{ n: number }>(
        "SELECT count(*) AS n FROM uploads WHERE status IN ('open', 'closed') AND expires_at > ?",
        now,
      )
      .one().n;
  }

  /** The bytes of uploads whose parts may still arrive, without those of one file. */
  openBytes(now: number, except: string): number {
    return this.sql
      .exec<{ n: number }>(
        `SELECT coalesce(sum(size_bytes), 0) AS n FROM uploads
         WHERE status IN ('open', 'closed') AND expires_at > ? AND sha256 <> ?`,
        now,
        except,
      )
      .one().n;
  }

  begin({ id, sha256, size_bytes, part_bytes, name }: NewUpload, now: number, life_ms: number): Upload {
    const upload = { id, sha256, size_bytes, part_bytes, name, created_at: now, expires_at: now + life_ms };
    this.sql.exec(
      `INSERT INTO uploads (id, status, sha256, size_bytes, part_bytes, name, created_at, expires_at)
       VALUES (?, 'open', ?, ?, ?, ?, ?, ?)`,
      id,
      sha256,
      size_bytes,
      part_bytes,
      name,
      now,
      upload.expires_at,
    );
    return { ...upload, status: 'open' };
  }

  /** The upload; null when there is none, or no longer. Extends the expiry of an open one. */
  find(id: string, now: number, life_ms: number): Upload | null {
    this.sql.exec(
      `UPDATE uploads SET expires_at = max(expires_at, min(?, created_at + ?))
       WHERE id = ? AND status = 'open' AND expires_at > ?`,
      now + life_ms,
      UPLOAD_LIFE_MS,
      id,
      now,
    );
    const row = this.sql
      .exec<UploadRow>(
        `SELECT id, status, sha256, size_bytes, part_bytes, name, created_at, expires_at FROM uploads
         WHERE id = ? AND expires_at > ?`,
        id,
        now,
      )
      .toArray()[0];
    return row === undefined || row.status === 'closed' ? null : { ...row, status: row.status };
  }

  /** Ends an upload that is stored or was canceled. Its row is kept until its late parts are deleted. */
  end(id: string, status: 'stored' | 'closed', now: number): void {
    this.sql.exec(
      "UPDATE uploads SET status = ?, expires_at = iif(? = 'closed', ?, expires_at) WHERE id = ? AND status = 'open'",
      status,
      status,
      now + CLOSED_LIFE_MS,
      id,
    );
  }

  /** Expired uploads. */
  expired(now: number): string[] {
    return this.sql
      .exec<{ id: string }>(
        'SELECT id FROM uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT ?',
        now,
        CLEAR_AT_ONCE,
      )
      .toArray()
      .map(({ id }) => id);
  }

  delete(id: string): void {
    this.sql.exec('DELETE FROM uploads WHERE id = ?', id);
  }

  /** When the next upload expires; null when there is none. */
  nextSweep(): number | null {
    return this.sql.exec<{ at: number | null }>('SELECT min(expires_at) AS at FROM uploads').one().at;
  }
}
