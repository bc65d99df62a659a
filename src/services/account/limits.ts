import { z } from 'zod';
import type { AccountLimits } from '../../config/schema.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import { insertAudit } from '../../storage/d1/audit.ts';
import type { Core } from '../context.ts';
import { faultsOf } from '../../domain/validation.ts';
import { accountOf, type Actor } from '../auth/actor.ts';
import { accountName } from '../keys/request.ts';
import { invalidRequest, notFound, type CoreProblem } from '../../domain/problems.ts';
import { repeatable } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

const count = z.int().nonnegative().max(1_000_000);
/** Ten years: longer than any promise, and still a time that can be written down. */
const retention = z.number().positive().max(315_360_000);
/** Body of `PUT /v1/accounts/{account}/limits`: an account's own limits. What it does not name is as configured (LIMITS). */
export const accountLimitsSchema = z.strictObject({
  jobs_in_flight: count.optional(),
  max_queued: count.optional(),
  submits_per_minute: count.optional(),
  usd_per_day: z.number().nonnegative().max(1_000_000).optional(),
  gpu_seconds_per_day: z.number().nonnegative().max(1_000_000_000).optional(),
  /** Bytes of assets, uploads under way included. */
  stored_bytes: z.int().nonnegative().optional(),
  /** Seconds; how long finished jobs and assets are kept. */
  retention: retention.optional(),
  asset_retention: retention.optional(),
});

/** The limits that hold for an account. A key sees its own account's only. */
export async function getLimits(
  core: Core,
  actor: Actor,
  account: string,
): Promise<Result<AccountLimits, CoreProblem>> {
  const own = accountOf(actor);
  if (!accountName.safeParse(account).success || (own !== null && own !== account)) {
    return fail(notFound);
  }
  return ok(await repeatable(() => accountStub(core.env, account).limits()));
}

/**
 * Gives an account its own limits, instead of those it had; holds for the next submit. The operator's alone: no key may raise what
 * bounds it. The audit line comes first, so that no change goes unseen.
 */
export async function setLimits(
  core: Core,
  actor: Actor,
  account: string,
  body: unknown,
): Promise<Result<AccountLimits, CoreProblem>> {
  if (actor.key !== null) {
    return fail({ code: 'insufficient_scope', detail: 'only the operator (ADMIN_TOKEN) sets limits' });
  }
  if (!accountName.safeParse(account).success) {
    return fail(notFound);
  }
  const parsed = accountLimitsSchema.safeParse(body);
  if (!parsed.success) {
    const [first, ...rest] = faultsOf(parsed.error);
    if (first === undefined) {
      throw new Error('limits were refused without a fault');
    }
    return fail(invalidRequest([first, ...rest]));
  }
  await insertAudit(core.env.DB, {
    id: core.newId(),
    account,
    at: core.clock(),
    actor: 'operator',
    actor_key: null,
    action: 'limits.set',
    target: account,
    request_id: actor.requestId,
    changes: parsed.data,
  });
  return ok(await repeatable(() => accountStub(core.env, account).setLimits(parsed.data)));
}
