import type { AccountLimits } from '../../contract/limits.ts';
import { ownLimitsSchema } from '../../contract/limits.ts';
import { insertAudit } from '../../storage/d1/audit.ts';
import type { ServiceContext } from '../context.ts';
import { parseBody } from '../../domain/validation.ts';
import { accountOf, type Actor } from '../auth/actor.ts';
import { accountName } from '../keys/request.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/** Returns the effective limits of an account. A key may read only its own account's limits. */
export async function getLimits(
  context: ServiceContext,
  actor: Actor,
  account: string,
): Promise<Result<AccountLimits, Problem>> {
  const own = accountOf(actor);
  if (!accountName.safeParse(account).success || (own !== null && own !== account)) {
    return fail(notFound);
  }
  return ok(await withRpcRetry(() => context.env.ACCOUNT.getByName(account).limits()));
}

/**
 * Replaces an account's own limits. They apply from the next submit. Only the operator may call this, because a key
 * must not raise its own limits. The audit entry is written first, so that every change is in the log.
 */
export async function setLimits(
  context: ServiceContext,
  actor: Actor,
  account: string,
  body: unknown,
): Promise<Result<AccountLimits, Problem>> {
  if (actor.key !== null) {
    return fail({ code: 'insufficient_scope', detail: 'Only the operator can set limits. Send ADMIN_TOKEN.' });
  }
  if (!accountName.safeParse(account).success) {
    return fail(notFound);
  }
  const parsed = parseBody(ownLimitsSchema, body);
  if (!parsed.ok) {
    return parsed;
  }
  await insertAudit(context.env.DB, {
    id: context.newId(),
    account,
    at: context.clock(),
    actor: 'operator',
    actor_key: null,
    action: 'limits.set',
    target: account,
    request_id: actor.requestId,
    changes: parsed.value,
  });
  return ok(await withRpcRetry(() => context.env.ACCOUNT.getByName(account).setLimits(parsed.value)));
}
