import type { Env } from '../../env.ts';
import { idFloor } from '../../lib/ids.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { deleteOldAudit } from '../../storage/d1/audit.ts';
import { deleteOldKeys } from '../../storage/d1/keys.ts';

/** How long audit entries and revoked keys are kept: more than a year, for yearly reviews. */
export const RECORDS_KEPT_MS = 400 * 86_400_000;
/** The most rows removed in one sweep. The next sweep continues. */
const REMOVE_AT_ONCE = 1_000;

/** Removes audit entries and revoked keys that are older than `RECORDS_KEPT_MS`. */
export async function sweepKeys(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const before = now - RECORDS_KEPT_MS;
  const made_before = idFloor(before);
  const entries = await deleteOldAudit(env.DB, made_before, REMOVE_AT_ONCE);
  const keys = await deleteOldKeys(env.DB, { made_before, revoked_before: before }, REMOVE_AT_ONCE);
  if (entries + keys > 0) {
    log({ event: 'old_key_records_removed', entries, keys });
  }
}
