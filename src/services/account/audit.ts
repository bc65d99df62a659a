import { listAudit as readAudit, type AuditEntry } from '../../storage/d1/audit.ts';
import type { Core } from '../context.ts';
import { readCursor, writeCursor } from '../../lib/cursor.ts';
import { accountOf, type Actor } from '../auth/actor.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

export type AuditPage = { entries: AuditEntry[]; next_cursor: string | null };

/**
 * Returns a page of the audit log, newest first. A key reads its own account; the operator reads one account or all.
 */
export async function listAudit(
  core: Core,
  actor: Actor,
  page: { limit: number; cursor: string | null; account: string | null },
): Promise<Result<AuditPage, CoreProblem>> {
  const before = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && before === null) {
    return fail({ code: 'invalid_cursor', detail: 'the cursor is none that a list has answered with' });
  }
  const found = await readAudit(core.env.DB, accountOf(actor) ?? page.account, { limit: page.limit + 1, before });
  const entries = found.slice(0, page.limit);
  const last = entries.at(-1);
  return ok({ entries, next_cursor: found.length > page.limit && last !== undefined ? writeCursor(last.id) : null });
}
