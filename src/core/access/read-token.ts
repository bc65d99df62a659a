import { z } from 'zod';
import { isUuidV7 } from '../../providers/ids.ts';
import { signToken, tokenStands } from '../../providers/tokens.ts';
import type { KeyRecord } from '../../storage/d1/keys.ts';
import type { Caller, Core } from '../context.ts';
import { faultsOf } from '../faults.ts';
import { getJob } from '../jobs/get.ts';
import { keyOf } from '../keys/verify.ts';
import { invalidRequest, type CoreProblem } from '../problems.ts';
import { fail, ok, type Result } from '../result.ts';

/**
 * Read tokens, for browsers: they show one job, its events and its outputs, and nothing else. `ce_read_<key>.<expiry>.<HMAC>` is
 * checked without storage; then the key that made it must still be valid, so that revoking the key ends its tokens as well.
 */

const PREFIX = 'ce_read_';

/** How long a token may outlive its job's deadline, in seconds: time to look at the results. */
export const MARGIN_S = 900;

/** Body of `POST /v1/jobs/{id}/tokens`. `expires_in` in seconds. */
export const readTokenRequestSchema = z.strictObject({ expires_in: z.number().positive().optional() });

export type ReadToken = { token: string; expires_at: number };

/** A token for one job of the caller's. It lives as long as the job may run and `MARGIN_S` longer, or shorter if that is asked for. */
export async function createReadToken(
  core: Core,
  caller: Caller,
  id: string,
  body: unknown,
): Promise<Result<ReadToken, CoreProblem>> {
  const parsed = readTokenRequestSchema.safeParse(body);
  if (!parsed.success) {
    return fail(invalidRequest(faultsOf(parsed.error)));
  }
  const job = await getJob(core, caller, id);
  if (!job.ok) {
    return job;
  }
  const now = core.clock();
  const longest = Math.floor(Math.max(0, job.value.deadline - now) / 1000) + MARGIN_S;
  const { expires_in = longest } = parsed.data;
  if (expires_in > longest) {
    const detail = `"expires_in" may be ${longest} seconds for this job`;
    return fail(invalidRequest([{ pointer: '#/expires_in', code: 'out_of_range', detail }]));
  }
  // Whole seconds, as the token has them.
  const expires_at = Math.floor((now + expires_in * 1000) / 1000) * 1000;
  const mac = await signToken(core.config.tokenSecret, bindingOf(caller.key, id), expires_at);
  return ok({ token: `${PREFIX}${caller.key}.${mac}`, expires_at });
}

export const isReadToken = (credential: string): boolean => credential.startsWith(PREFIX);

/** The key behind a token that is good for this job now; null for anything else. Nothing is read for a token that we did not sign. */
export async function verifyReadToken(core: Core, token: string, job: string, age?: number): Promise<KeyRecord | null> {
  const dot = token.indexOf('.');
  const key = token.slice(PREFIX.length, dot);
  if (dot < 0 || !isReadToken(token) || !isUuidV7(key) || !isUuidV7(job)) {
    return null;
  }
  const stands = await tokenStands(core.config.tokenSecret, bindingOf(key, job), token.slice(dot + 1), core.clock());
  return stands ? keyOf(core, key, age) : null;
}

const bindingOf = (key: string, job: string) => ({ purpose: 'read', job, key }) as const;
