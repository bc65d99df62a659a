import type { Asset, InputUse, NewUpload, StoredFile, Upload } from '../../contract/assets.ts';
import { deleteAssets } from '../../storage/r2/assets.ts';
import { clearParts } from '../../storage/r2/upload-parts.ts';
import type { Assets } from './assets.ts';
import type { Uploads } from './uploads.ts';

/** One row: the account's name, which an alarm does not get. */
export const OWNER = `
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), account TEXT NOT NULL);
`;

/** The least time between two sweeps: an expired file that a running job reads stays the next one due for long. */
const SWEEP_SPACING_MS = 600_000;

/**
 * The account's files. The order of steps keeps its rows and R2 consistent: a file is put before its row is written, a
 * row is deleted before its file, and a hash that is pending deletion is put again only after R2 has deleted it
 * (docs/decisions/0041).
 */
export class Files {
  private readonly sql: SqlStorage;
  private readonly bucket: R2Bucket;
  private readonly assets: Assets;
  private readonly uploads: Uploads;
  /** Deletions in progress in this instance, by hash. */
  private readonly deleting = new Map<string, Promise<void>>();

  constructor(parts: { sql: SqlStorage; bucket: R2Bucket; assets: Assets; uploads: Uploads }) {
    this.sql = parts.sql;
    this.bucket = parts.bucket;
    this.assets = parts.assets;
    this.uploads = parts.uploads;
  }

  /** Stores the account's name. */
  setOwner(account: string): void {
    this.sql.exec('INSERT OR IGNORE INTO owner (one, account) VALUES (1, ?)', account);
  }

  /**
   * Records a file that was found in R2, or was just put there (`created`). `retry`: it was pending deletion, is
   * deleted now, and must be put once more. `full`: there is no room for it; a file that was put for this is deleted.
   */
  async record(
    file: StoredFile,
    { uploaded, created }: { uploaded: boolean; created: boolean },
    times: { now: number; expires_at: number },
    max: number | undefined,
  ): Promise<Asset | 'retry' | 'full'> {
    if (this.assets.isPendingDeletion(file.sha256)) {
      await this.waitUntilDeleted(file.sha256);
      return 'retry';
    }
    if (!this.hasRoom([file], times.now, max)) {
      if (created) {
        await this.markAndDelete([file.sha256], times.now);
      }
      return 'full';
    }
    return this.assets.record(file, uploaded, times.expires_at);
  }

  /** Whether the account has room for these files. Files that it has already need no room. */
  hasRoom(files: readonly { sha256: string; size_bytes: number }[], now: number, max: number | undefined): boolean {
    const fresh = files.filter(({ sha256 }) => this.assets.find(sha256) === null);
    const [first] = fresh;
    if (max === undefined || first === undefined) {
      return true;
    }
    const needed = fresh.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    return this.assets.storedBytes() + this.uploads.openBytes(now, first.sha256) + needed <= max;
  }

  /** Waits for pending deletions of the files that a job brings, so that they are put after the deletion. */
  async evictFor(uses: readonly InputUse[]): Promise<void> {
    for (const { sha256, attached } of uses) {
      if (attached && this.assets.isPendingDeletion(sha256)) {
        await this.waitUntilDeleted(sha256);
      }
    }
  }

  /** Deletes an asset. `in_use`: an unfinished job reads it. */
  async remove(sha256: string, now: number): Promise<'removed' | 'not_found' | 'in_use'> {
    if (this.assets.find(sha256) === null) {
      return 'not_found';
    }
    if (this.assets.isInUse(sha256, now)) {
      return 'in_use';
    }
    await this.markAndDelete([sha256], now);
    return 'removed';
  }

  /** Deletes those of these files that jobs brought and that no job uses. */
  deleteOrphans(hashes: readonly string[], now: number): Promise<void> {
    return this.markAndDelete(
      hashes.filter((sha256) => this.assets.isUnreferenced(sha256)),
      now,
    );
  }

  /** Deletes the files that only an erased job used. */
  onJobErased(job: string, now: number): Promise<void> {
    return this.markAndDelete(this.assets.deleteUses(job), now);
  }

  /** The open upload of this file, or a new one. */
  beginUpload(
    requested: NewUpload,
    times: { now: number; life_ms: number },
    max: { uploads: number; bytes: number | undefined },
  ): Upload | 'too_many' | 'full' {
    const { now, life_ms } = times;
    const open = this.uploads.findOpen(requested, now, life_ms);
    if (open !== null) {
      return open;
    }
    if (this.uploads.countOpen(now) >= max.uploads) {
      return 'too_many';
    }
    return this.hasRoom([requested], now, max.bytes) ? this.uploads.begin(requested, now, life_ms) : 'full';
  }

  /** Deletes what has expired, up to a limit per call. The rest stays due. */
  async sweep(now: number): Promise<void> {
    const account = this.owner();
    if (account === null) {
      return;
    }
    await this.markAndDelete(this.assets.expired(now), now);
    // Skips deletions in progress: a second one could remove a file that was stored again after the first.
    const left = this.assets.pendingDeletions().filter((sha256) => !this.deleting.has(sha256));
    if (left.length > 0) {
      await this.delete(left);
    }
    for (const id of this.uploads.expired(now)) {
      await clearParts(this.bucket, account, id);
      this.uploads.delete(id);
    }
    this.assets.purgeDeleted(now);
  }

  /** When to sweep next; null when nothing expires. */
  nextSweep(now: number): number | null {
    const times = [this.assets.nextSweep(), this.uploads.nextSweep()].filter((at) => at !== null);
    return times.length === 0 ? null : Math.max(Math.min(...times), now + SWEEP_SPACING_MS);
  }

  /** The account's name; null before its first file. */
  owner(): string | null {
    return this.sql.exec<{ account: string }>('SELECT account FROM owner').toArray()[0]?.account ?? null;
  }

  private async markAndDelete(hashes: readonly string[], now: number): Promise<void> {
    if (hashes.length > 0) {
      this.assets.markForDeletion(hashes, now);
      await this.delete(hashes);
    }
  }

  /** Waits until R2 has deleted a file, which may be stored again then. */
  private async waitUntilDeleted(sha256: string): Promise<void> {
    await (this.deleting.get(sha256) ?? this.delete([sha256]));
    this.assets.undelete(sha256);
  }

  private async delete(hashes: readonly string[]): Promise<void> {
    const account = this.owner();
    if (account === null) {
      throw new Error('the account has files but no name');
    }
    const work = deleteAssets(this.bucket, account, hashes).then(() => this.assets.confirmDeleted(hashes));
    for (const sha256 of hashes) {
      this.deleting.set(sha256, work);
    }
    try {
      await work;
    } finally {
      for (const sha256 of hashes) {
        if (this.deleting.get(sha256) === work) {
          this.deleting.delete(sha256);
        }
      }
    }
  }
}
