import { idFloor } from '../../lib/ids.ts';
import { nthNewestAudit, type AuditRoom } from '../../storage/d1/audit.ts';
import type { ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import type { Actor } from '../auth/actor.ts';

/**
 * The most changes to an account's keys in 24 hours by its own keys. Each adds an audit entry, and each new key adds a
 * row, kept for `RECORDS_KEPT_MS`. The limit allows 500 keys to be rotated twice a day. Revoking a key, and all changes
 * by the operator, are unlimited.
 */
export const MAX_CHANGES_PER_DAY = 1_000;
const DAY_MS = 86_400_000;

/** The audit log limit that applies to a change by this actor. */
export const auditLimitFor = (context: ServiceContext, actor: Actor): AuditRoom => ({
  since: idFloor(context.clock() - DAY_MS),
  limit: actor.key === null ? Number.MAX_SAFE_INTEGER : MAX_CHANGES_PER_DAY,
});

/** Returns the problem when the account has reached `MAX_CHANGES_PER_DAY`; null otherwise. */
export async function tooManyChanges(context: ServiceContext, actor: Actor, account: string): Promise<Problem | null> {
  const now = context.clock();
  const at = actor.key === null ? null : await nthNewestAudit(context.env.DB, account, MAX_CHANGES_PER_DAY);
  return at === null || at <= now - DAY_MS
    ? null
    : {
        code: 'rate_limited',
        detail: `The account's keys may be changed at most ${MAX_CHANGES_PER_DAY} times in 24 hours. Try again later; keys can still be revoked.`,
        retryAfterS: Math.max(1, Math.ceil((at + DAY_MS - now) / 1000)),
      };
}
