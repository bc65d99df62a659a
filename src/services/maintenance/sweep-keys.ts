import type { Env } from '../../env.ts';
import { idFloor } from '../../lib/ids.ts';
import { consoleLog, type Log } from '../../providers/log.ts';
import { forgetAudit } from '../../storage/d1/audit.ts';
import { forgetKeys } from '../../storage/d1/keys.ts';

/** How long entries of the audit log, and keys that were revoked, are kept: a yearly review finds the whole year. */
export const RECORDS_KEPT_MS = 400 * 86_400_000;
/** Removed in one sweep; the next one goes on. */
const REMOVE_AT_ONCE = 1_000;

/** Removes what has been kept long enough. */
export async function sweepKeys(env: Env, now: number, log: Log = consoleLog): Promise<void> {
  const before = now - RECORDS_KEPT_MS;
  const made_before = idFloor(before);
  const entries = await forgetAudit(env.DB, made_before, REMOVE_AT_ONCE);
  const keys = await forgetKeys(env.DB, { made_before, revoked_before: before }, REMOVE_AT_ONCE);
  if (entries + keys > 0) {
    log({ event: 'old_key_records_removed', entries, keys });
  }
}
