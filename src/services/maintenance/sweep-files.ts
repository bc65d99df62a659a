import type { Env } from '../../env.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { readPlace, writePlace } from '../../storage/d1/sweep-cursors.ts';
import { assetsPage, clearUploadsPage } from '../../storage/r2/list-files.ts';

/** An upload lives a week at most and its URLs an hour: what is older belongs to none. */
const FORGOTTEN_UPLOAD_MS = 8 * 86_400_000;

/**
 * Goes over the files in R2, a page of each kind per run, and goes on where the last run stopped. Assets that their account does not
 * know (stored by an older gateway, or by one that died before it could say so) are made known to it, and so expire one day; what is
 * left of uploads that nobody finished is deleted. An account that cannot be asked now is asked in the next round.
 */
export async function walkFiles(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const page = await assetsPage(env.BUCKET, await readPlace(env.DB, 'assets'));
  const asked = await Promise.allSettled(
    [...page.byAccount].map(([account, files]) => accountStub(env, account).adoptAssets(account, files)),
  );
  await writePlace(env.DB, 'assets', page.cursor);
  const uploads = await clearUploadsPage(env.BUCKET, await readPlace(env.DB, 'uploads'), now - FORGOTTEN_UPLOAD_MS);
  await writePlace(env.DB, 'uploads', uploads.cursor);
  const failed = asked.filter(({ status }) => status === 'rejected').length;
  if (failed > 0 || uploads.deleted > 0) {
    log({ event: 'files_walked', failed, deleted: uploads.deleted });
  }
}
