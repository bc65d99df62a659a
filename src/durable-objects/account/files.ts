import type { Asset, InputUse, NewUpload, StoredFile, Upload } from '../../contract/assets.ts';
import { deleteAssets } from '../../storage/r2/assets.ts';
import { clearParts } from '../../storage/r2/upload-parts.ts';
import type { Assets } from './assets.ts';
import type { Uploads } from './uploads.ts';

/** One row: the account's name, which an alarm is not told. */
export const OWNER = `
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), account TEXT NOT NULL);
`;

/** Wait between two sweeps that have something to do: what a running job reads may stand at the head for long. */
const SWEEP_SPACING_MS = 600_000;

/**
 * The account's files, and the order of things that keeps its rows and R2 true to each other: a file is put before its row is made,
 * a row goes before its file is deleted, and a hash that is being deleted is put again only after R2 has done so
 * (docs/decisions/0041).
 */
export class Files {
  private readonly sql: SqlStorage;
  private readonly bucket: R2Bucket;
  private readonly assets: Assets;
  private readonly uploads: Uploads;
  /** Deletions that this instance is carrying out, by hash. */
  private readonly deleting = new Map<string, Promise<void>>();

  constructor(parts: { sql: SqlStorage; bucket: R2Bucket; assets: Assets; uploads: Uploads }) {
    this.sql = parts.sql;
    this.bucket = parts.bucket;
    this.assets = parts.assets;
    this.uploads = parts.uploads;
  }

  /** Remembers whose files these are. */
  belongTo(account: string): void {
    this.sql.exec('INSERT OR IGNORE INTO owner (one, account) VALUES (1, ?)', account);
  }

  /**
   * Notes a file that was found in R2, or just put there (`created`). `again`: it was being deleted; it is gone now and must be put once
   * more. `full`: there is no room for it, and if it was put for this it is deleted.
   */
  async keep(
    file: StoredFile,
    { uploaded, created }: { uploaded: boolean; created: boolean },
    times: { now: number; expires_at: number },
    most: number | undefined,
  ): Promise<Asset | 'again' | 'full'> {
    if (this.assets.isDoomed(file.sha256)) {
      await this.deleted(file.sha256);
      return 'again';
    }
    if (!this.hasRoom([file], times.now, most)) {
      if (created) {
        await this.giveUp([file.sha256], times.now);
      }
      return 'full';
    }
    return this.assets.keep(file, uploaded, times.expires_at);
  }

  /** Whether the account may keep these files too. Those it has cost nothing more. */
  hasRoom(files: readonly { sha256: string; size_bytes: number }[], now: number, most: number | undefined): boolean {
    const fresh = files.filter(({ sha256 }) => this.assets.find(sha256) === null);
    const [first] = fresh;
    if (most === undefined || first === undefined) {
      return true;
    }
    const wanted = fresh.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    return this.assets.storedBytes() + this.uploads.openBytes(now, first.sha256) + wanted <= most;
  }

  /** Waits for deletions of what a job brings along: it is put after them, not before. */
  async makeWayFor(uses: readonly InputUse[]): Promise<void> {
    for (const { sha256, brought } of uses) {
      if (brought && this.assets.isDoomed(sha256)) {
        await this.deleted(sha256);
      }
    }
  }

  /** Gives an asset up. `in_use`: an unfinished job reads it. */
  async remove(sha256: string, now: number): Promise<'removed' | 'not_found' | 'in_use'> {
    if (this.assets.find(sha256) === null) {
      return 'not_found';
    }
    if (this.assets.isInUse(sha256, now)) {
      return 'in_use';
    }
    await this.giveUp([sha256], now);
    return 'removed';
  }

  /** Gives up those of these files that only jobs brought and that no job uses. */
  giveUpLoose(hashes: readonly string[], now: number): Promise<void> {
    return this.giveUp(
      hashes.filter((sha256) => this.assets.isLoose(sha256)),
      now,
    );
  }

  /** A job is erased: with it goes what it used and nothing else does. */
  forgetJob(job: string, now: number): Promise<void> {
    return this.giveUp(this.assets.forget(job), now);
  }

  /** An upload for this file: the one that is under way already, or a new one. */
  beginUpload(
    wanted: NewUpload,
    times: { now: number; life_ms: number },
    most: { uploads: number; bytes: number | undefined },
  ): Upload | 'too_many' | 'full' {
    const { now, life_ms } = times;
    const open = this.uploads.findOpen(wanted, now, life_ms);
    if (open !== null) {
      return open;
    }
    if (this.uploads.countOpen(now) >= most.uploads) {
      return 'too_many';
    }
    return this.hasRoom([wanted], now, most.bytes) ? this.uploads.begin(wanted, now, life_ms) : 'full';
  }

  /** Deletes what is due, a bounded number of things; what is left is due again. Repeating it does nothing more. */
  async sweep(now: number): Promise<void> {
    const account = this.owner();
    if (account === null) {
      return;
    }
    await this.giveUp(this.assets.expired(now), now);
    // A second deletion of a file would hit the one that is put again after the first.
    const left = this.assets.toDelete().filter((sha256) => !this.deleting.has(sha256));
    if (left.length > 0) {
      await this.delete(left);
    }
    for (const id of this.uploads.expired(now)) {
      await clearParts(this.bucket, account, id);
      this.uploads.forget(id);
    }
    this.assets.forgetDeleted(now);
  }

  /** When to sweep next; null: there is nothing that ends. */
  nextSweep(now: number): number | null {
    const times = [this.assets.nextSweep(), this.uploads.nextSweep()].filter((at) => at !== null);
    return times.length === 0 ? null : Math.max(Math.min(...times), now + SWEEP_SPACING_MS);
  }

  private owner(): string | null {
    return this.sql.exec<{ account: string }>('SELECT account FROM owner').toArray()[0]?.account ?? null;
  }

  private async giveUp(hashes: readonly string[], now: number): Promise<void> {
    if (hashes.length > 0) {
      this.assets.doom(hashes, now);
      await this.delete(hashes);
    }
  }

  /** Resolves when R2 no longer has a doomed file; it may come again then. */
  private async deleted(sha256: string): Promise<void> {
    await (this.deleting.get(sha256) ?? this.delete([sha256]));
    this.assets.pardon(sha256);
  }

  private async delete(hashes: readonly string[]): Promise<void> {
    const account = this.owner();
    if (account === null) {
      throw new Error('an account without a name has files');
    }
    const work = deleteAssets(this.bucket, account, hashes).then(() => this.assets.deleted(hashes));
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
