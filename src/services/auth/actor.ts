import type { AuditEntry } from '../../storage/d1/audit.ts';
import type { KeyRecord } from '../../storage/d1/keys.ts';
import type { ServiceContext } from '../context.ts';

export type { KeyRecord };

/**
 * Who manages keys: a key, within its account and its own restrictions, or the operator (ADMIN_TOKEN), in any account.
 */
export type Actor = { key: KeyRecord | null; requestId: string };

/** The account to which an actor is restricted; null for the operator. */
export const accountOf = (actor: Actor): string | null => actor.key?.account ?? null;

/** Makes an audit log entry about a key. */
export function auditOf(
  context: ServiceContext,
  actor: Actor | { secretOf: KeyRecord; requestId: string },
  action: `key.${'created' | 'updated' | 'rotated' | 'revoked'}`,
  target: { id: string; account: string },
  changes: Record<string, unknown>,
): AuditEntry {
  const bySecret = 'secretOf' in actor;
  const key = bySecret ? actor.secretOf : actor.key;
  return {
    id: context.newId(),
    account: target.account,
    at: context.clock(),
    actor: bySecret ? 'secret' : key === null ? 'operator' : 'key',
    actor_key: key?.id ?? null,
    action,
    target: target.id,
    request_id: actor.requestId,
    changes,
  };
}
