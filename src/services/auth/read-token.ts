import { z } from 'zod';
import { isUuidV7 } from '../../lib/ids.ts';
import { expiryOf, signToken, isTokenValid } from '../../providers/tokens.ts';
import type { KeyRecord } from '../../storage/d1/keys.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { parseBody } from '../../domain/validation.ts';
import { getJob } from '../jobs/get.ts';
import { keyOf, type SecretUse } from './verify-key.ts';
import { invalidRequest, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';

/**
 * Read tokens for browsers. A token gives access to one job, its events and its outputs. Its form,
 * `ce_read_<key>-<tag>.<expiry>.<HMAC>`, is checked without storage. Then the key that created it, and the key's secret
 * with that tag, must still be valid, so that revoking the key or rotating the secret also ends its tokens. A token
 * without a tag, from an older gateway, is valid as long as its key.
 */

const PREFIX = 'ce_read_';

/** How long a token stays valid after its job's deadline, in seconds, so that results can be read. */
export const MARGIN_S = 900;

/** Body of `POST /v1/jobs/{id}/tokens`. `expires_in` is in whole seconds, like the token's expiry. */
export const readTokenRequestSchema = z
  .strictObject({ expires_in: z.int().min(1).optional() })
  .meta({ id: 'ReadTokenRequest' });

export type ReadToken = { token: string; expires_at: number };

/**
 * Creates a token for one job of the caller. By default it is valid until `MARGIN_S` after the job's deadline; the
 * request may ask for less. It never outlives the secret that creates it.
 */
export async function createReadToken(
  context: ServiceContext,
  caller: Caller,
  secret: SecretUse,
  id: string,
  body: unknown,
): Promise<Result<ReadToken, Problem>> {
  const parsed = parseBody(readTokenRequestSchema, body);
  if (!parsed.ok) {
    return parsed;
  }
  const job = await getJob(context, caller, id);
  if (!job.ok) {
    return job;
  }
  const now = context.clock();
  const latest = Math.min(Math.max(now, job.value.deadline) + MARGIN_S * 1000, secret.ends_at ?? Infinity);
  const longest = Math.floor((latest - now) / 1000);
  const { expires_in = longest } = parsed.value;
  if (expires_in > longest) {
    const detail = `"expires_in" must be at most ${longest} seconds for this job.`;
    return fail(invalidRequest([{ pointer: '#/expires_in', code: 'out_of_range', detail }]));
  }
  // Rounds up to whole seconds, up to the maximum.
  const expires_at = Math.min(Math.ceil(now / 1000 + expires_in), Math.floor(latest / 1000)) * 1000;
  const mac = await signToken(context.config.tokenSecret, bindingOf(caller.key, secret.tag, id), expires_at);
  return ok({ token: `${PREFIX}${caller.key}-${secret.tag}.${mac}`, expires_at });
}

export const isReadToken = (credential: string): boolean => credential.startsWith(PREFIX);

/** The part of a token before its first dot: the id of its key, and the tag of the secret. */
const ISSUER = /^ce_read_([0-9a-f-]{36})(?:-([0-9a-f]{12}))?$/;

/**
 * Returns the key of a token that is valid for this job now, and when the token expires (ms). Null for anything else.
 * Reads nothing for a token with an invalid signature.
 */
export async function verifyReadToken(
  context: ServiceContext,
  token: string,
  job: string,
  age?: number,
): Promise<{ key: KeyRecord; expires_at: number } | null> {
  const dot = token.indexOf('.');
  const [, issuer = '', tag = null] = ISSUER.exec(token.slice(0, dot)) ?? [];
  if (dot < 0 || !isUuidV7(issuer) || !isUuidV7(job)) {
    return null;
  }
  const mac = token.slice(dot + 1);
  const isValid = await isTokenValid(context.config.tokenSecret, bindingOf(issuer, tag, job), mac, context.clock());
  const key = isValid ? await keyOf(context, issuer, tag, age) : null;
  return key === null ? null : { key, expires_at: expiryOf(mac) };
}

const bindingOf = (key: string, secret: string | null, job: string) => ({ purpose: 'read', job, key, secret }) as const;
