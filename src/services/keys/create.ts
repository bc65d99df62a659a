import { systemRandom } from '../../lib/ids.ts';
import { insertKey, type KeyRecord } from '../../storage/d1/keys.ts';
import type { ServiceContext } from '../context.ts';
import { invalidRequest, type Problem, type Issue } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { auditOf, type Actor } from '../auth/actor.ts';
import { auditLimitFor, tooManyChanges } from './changes.ts';
import { hashKey, hintOf, makeKey } from '../../domain/key/format.ts';
import { checkBody, newKeySchema } from './request.ts';
import { exceeds, type Rights } from '../../domain/key/rights.ts';
import { DEFAULT_GRANTS, grants } from '../../domain/key/scopes.ts';

/** The most active keys of an account: far above real use, and small for the database. */
export const MAX_KEYS = 500;

/** A key with its secret, which is returned only once and stored only as a hash. */
export type KeyWithSecret = { key: KeyRecord; secret: string };

/**
 * Creates a key. It inherits every restriction of the calling key that the request does not set. The operator names the
 * account.
 */
export async function createKey(
  context: ServiceContext,
  actor: Actor,
  body: unknown,
): Promise<Result<KeyWithSecret, Problem>> {
  const checked = checkBody(newKeySchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  const { environment, name, scopes, expires_at, ...lists } = checked.value;
  const creator = actor.key;
  const account = checked.value.account ?? creator?.account;
  if (account === undefined) {
    return refuse({ pointer: '#/account', code: 'required', detail: '"account" is required.' });
  }
  if (creator !== null && account !== creator.account) {
    return refuse({
      pointer: '#/account',
      code: 'invalid_value',
      detail: 'A key can create keys of its own account only.',
    });
  }
  const rights: Rights = {
    environment,
    scopes: scopes ?? defaultGrants(creator),
    expires_at: expires_at === undefined ? (creator?.expires_at ?? null) : timeOf(expires_at),
    ip_allow: lists.ip_allow === undefined ? (creator?.ip_allow ?? null) : lists.ip_allow,
    endpoints: lists.endpoints === undefined ? (creator?.endpoints ?? null) : lists.endpoints,
    templates: lists.templates === undefined ? (creator?.templates ?? null) : lists.templates,
    nodes: lists.nodes === undefined ? (creator?.nodes ?? null) : lists.nodes,
  };
  const excess = exceeds(creator, rights);
  if (excess !== null) {
    return fail(excess);
  }
  const secret = makeKey(environment, systemRandom);
  const key: KeyRecord = {
    id: context.newId(),
    account,
    name,
    hint: hintOf(secret),
    ...rights,
    created_at: context.clock(),
    last_used_at: null,
    rotated_at: null,
    previous_expires_at: null,
    revoked_at: null,
  };
  const entry = auditOf(context, actor, 'key.created', key, { name, ...rights });
  if (await insertKey(context.env.DB, key, await hashKey(secret), MAX_KEYS, entry, auditLimitFor(context, actor))) {
    return ok({ key, secret });
  }
  const tooMany = await tooManyChanges(context, actor, account);
  return fail(
    tooMany ?? {
      code: 'too_many_keys',
      detail: `An account may have at most ${MAX_KEYS} active keys. Revoke one first.`,
    },
  );
}

/** Converts a time of a request to ms since the epoch. */
export const timeOf = (text: string | null): number | null => (text === null ? null : Date.parse(text));

/** All scopes except `admin`, as far as the creator has them. */
const defaultGrants = (creator: KeyRecord | null): string[] =>
  creator === null || grants(creator.scopes, 'admin') ? [...DEFAULT_GRANTS] : creator.scopes;

const refuse = (issue: Issue): Result<never, Problem> => fail(invalidRequest([issue]));
