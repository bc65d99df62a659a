import type { Env } from '../../env.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { readSweepCursor, writeSweepCursor } from '../../storage/d1/sweep-cursors.ts';
import { assetsPage, clearUploadsPage } from '../../storage/r2/list-files.ts';

/** An upload lives at most a week, and its URLs an hour, so older parts belong to no upload. */
const ABANDONED_UPLOAD_MS = 8 * 86_400_000;

/**
 * Sweeps the files in R2, one page of each kind per run, and continues where the last run stopped. Records assets that
 * their account does not have, so that they expire: an older gateway stored them, or a gateway stopped before it
 * recorded them. Deletes the parts of abandoned uploads. An account that does not answer is retried in the next round.
 */
export async function sweepFiles(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const page = await assetsPage(env.BUCKET, await readSweepCursor(env.DB, 'assets'));
  const asked = await Promise.allSettled(
    [...page.byAccount].map(([account, files]) => env.ACCOUNT.getByName(account).recordFoundAssets(account, files)),
  );
  await writeSweepCursor(env.DB, 'assets', page.cursor);
  const uploads = await clearUploadsPage(
    env.BUCKET,
    await readSweepCursor(env.DB, 'uploads'),
    now - ABANDONED_UPLOAD_MS,
  );
  await writeSweepCursor(env.DB, 'uploads', uploads.cursor);
  const failed = asked.filter(({ status }) => status === 'rejected').length;
  if (failed > 0 || uploads.deleted > 0) {
    log({ event: 'files_swept', failed, deleted: uploads.deleted });
  }
}
