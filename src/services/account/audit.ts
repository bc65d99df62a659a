import type { Problem } from '../../domain/problems.ts';
import type { Result } from '../../domain/result.ts';
import { listAudit as readAudit, type AuditEntry } from '../../storage/d1/audit.ts';
import { accountOf, type Actor } from '../auth/actor.ts';
import type { ServiceContext } from '../context.ts';
import { paginate, type Page, type PageRequest } from '../paginate.ts';

export type { AuditEntry };

/**
 * Returns a page of the audit log, newest first. A key reads its own account; the operator reads one account or all.
 */
export const listAudit = (
  context: ServiceContext,
  actor: Actor,
  page: PageRequest & { account: string | null },
): Promise<Result<Page<AuditEntry>, Problem>> =>
  paginate(
    page,
    ({ limit, after }) => readAudit(context.env.DB, accountOf(actor) ?? page.account, { limit, before: after }),
    ({ id }) => id,
  );
