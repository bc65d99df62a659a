import { idFloor } from '../../lib/ids.ts';
import { nthNewestAudit, type AuditRoom } from '../../storage/d1/audit.ts';
import type { Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import type { Actor } from '../auth/actor.ts';

/**
 * Changes of an account's keys in 24 hours by its own keys. Each leaves an entry in the audit log, and a made key a row, for
 * `RECORDS_KEPT_MS`; 500 keys may be rotated twice a day. To revoke a key is always possible, and so is everything for the operator.
 */
export const MAX_CHANGES_PER_DAY = 1_000;
const DAY_MS = 86_400_000;

/** How many more entries a change by this actor may find in the account's audit log. */
export const roomFor = (core: Core, actor: Actor): AuditRoom => ({
  since: idFloor(core.clock() - DAY_MS),
  most: actor.key === null ? Number.MAX_SAFE_INTEGER : MAX_CHANGES_PER_DAY,
});

/** Why a change was not made: the account has had as many as it may. Null: that is not why. */
export async function tooManyChanges(core: Core, actor: Actor, account: string): Promise<CoreProblem | null> {
  const now = core.clock();
  const at = actor.key === null ? null : await nthNewestAudit(core.env.DB, account, MAX_CHANGES_PER_DAY);
  return at === null || at <= now - DAY_MS
    ? null
    : {
        code: 'rate_limited',
        detail: `The account's keys were changed ${MAX_CHANGES_PER_DAY} times in 24 hours. Try again later; keys can still be revoked.`,
        retryAfterS: Math.max(1, Math.ceil((at + DAY_MS - now) / 1000)),
        shouldRetry: true,
      };
}
