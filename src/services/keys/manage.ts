import { systemRandom } from '../../lib/ids.ts';
import {
  endGrace,
  findBySecret,
  findKey,
  listKeys as readKeys,
  revokeKey as markRevoked,
  rotateKey as replaceSecret,
  updateKey as writeFields,
  type KeyFields,
  type KeyRecord,
} from '../../storage/d1/keys.ts';
import type { ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { accountOf, auditOf, type Actor } from '../auth/actor.ts';
import { timeOf, type KeyWithSecret } from './create.ts';
import { auditLimitFor, tooManyChanges } from './changes.ts';
import { hashKey, hintOf, isKey, makeKey } from '../../domain/key/format.ts';
import { checkBody, keyChangeSchema, revocationSchema, rotationSchema } from './request.ts';
import { exceeds } from '../../domain/key/rights.ts';
import { forgetKey } from '../auth/verify-key.ts';
import { paginate, type Page, type PageRequest } from '../paginate.ts';

/** Returns a page of keys, newest first, including revoked ones. A key lists its account; the operator one or all. */
export const listKeys = (
  context: ServiceContext,
  actor: Actor,
  page: PageRequest & { account: string | null },
): Promise<Result<Page<KeyRecord>, Problem>> =>
  paginate(
    page,
    ({ limit, after }) => readKeys(context.env.DB, accountOf(actor) ?? page.account, { limit, before: after }),
    ({ id }) => id,
  );

/** Returns one key. A key of another account is not found. */
export async function getKey(context: ServiceContext, actor: Actor, id: string): Promise<Result<KeyRecord, Problem>> {
  const key = await findKey(context.env.DB, id, accountOf(actor));
  return key === null ? fail(notFound) : ok(key);
}

/** Updates a key's permissions. The change takes effect everywhere within 30 s, like a revocation. */
export async function updateKey(
  context: ServiceContext,
  actor: Actor,
  id: string,
  body: unknown,
): Promise<Result<KeyRecord, Problem>> {
  const checked = checkBody(keyChangeSchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  const found = await findActiveKey(context, actor, id);
  if (!found.ok) {
    return found;
  }
  const before = found.value;
  const { name, scopes, expires_at, ip_allow, endpoints, templates, nodes } = checked.value;
  const after: KeyFields = {
    name: name ?? before.name,
    scopes: scopes ?? before.scopes,
    expires_at: expires_at === undefined ? before.expires_at : timeOf(expires_at),
    ip_allow: ip_allow === undefined ? before.ip_allow : ip_allow,
    endpoints: endpoints === undefined ? before.endpoints : endpoints,
    templates: templates === undefined ? before.templates : templates,
    nodes: nodes === undefined ? before.nodes : nodes,
  };
  const key: KeyRecord = { ...before, ...after };
  const excess = exceeds(actor.key, key);
  if (excess !== null) {
    return fail(excess);
  }
  const entry = auditOf(context, actor, 'key.updated', key, differences(before, after));
  const written = await writeFields(context.env.DB, id, after, entry, auditLimitFor(context, actor));
  forgetKey(id);
  return written ? ok(key) : fail((await tooManyChanges(context, actor, key.account)) ?? notFound);
}

/**
 * Rotates a key's secret; its id, permissions and history stay. The old secret works for a grace period that ends no
 * later than the key.
 */
export async function rotateKey(
  context: ServiceContext,
  actor: Actor,
  id: string,
  body: unknown,
): Promise<Result<KeyWithSecret, Problem>> {
  const checked = checkBody(rotationSchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  const found = await findActiveKey(context, actor, id);
  if (!found.ok) {
    return found;
  }
  const before = found.value;
  // The caller gets the new secret, and with it all permissions of the key.
  const excess = exceeds(actor.key, before);
  if (excess !== null) {
    return fail(excess);
  }
  const at = context.clock();
  const secret = makeKey(before.environment, systemRandom);
  const previous_expires_at = Math.min(at + Math.round(checked.value.grace * 1000), before.expires_at ?? Infinity);
  const key: KeyRecord = { ...before, hint: hintOf(secret), rotated_at: at, previous_expires_at };
  const entry = auditOf(context, actor, 'key.rotated', key, { hint: key.hint, previous_expires_at });
  const written = await replaceSecret(
    context.env.DB,
    id,
    { hash: await hashKey(secret), hint: key.hint, at, previous_expires_at },
    entry,
    auditLimitFor(context, actor),
  );
  forgetKey(id);
  return written ? ok({ key, secret }) : fail((await tooManyChanges(context, actor, key.account)) ?? notFound);
}

/**
 * Revokes a key. Idempotent. Takes effect at once in this isolate, and everywhere within 30 s. A key with `keys:write`
 * may revoke any key of its account.
 */
export async function revokeKey(
  context: ServiceContext,
  actor: Actor,
  id: string,
): Promise<Result<KeyRecord, Problem>> {
  const found = await getKey(context, actor, id);
  return found.ok ? ok(await revoke(context, actor, found.value, null)) : found;
}

/**
 * Revokes the key with this secret, for example after a leak. For a secret that a rotation has replaced, only its grace
 * period ends: an old secret must not revoke the key. The call needs nothing but the secret, and the response does not
 * reveal whether the key existed.
 */
export async function revokeBySecret(
  context: ServiceContext,
  body: unknown,
  requestId: string,
): Promise<Result<null, Problem>> {
  const checked = checkBody(revocationSchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  if (!isKey(checked.value.key)) {
    return ok(null);
  }
  const hash = await hashKey(checked.value.key);
  const found = await findBySecret(context.env.DB, hash);
  if (found !== null) {
    const actor = { secretOf: found.key, requestId };
    await (found.ends_at === null
      ? revoke(context, actor, found.key, hash)
      : endGracePeriod(context, actor, found.key, hash));
  }
  return ok(null);
}

type AuditActor = Parameters<typeof auditOf>[1];

/**
 * `secret`: the hash that must still be the newest, so that an old secret cannot revoke a key that is rotated at the
 * same moment.
 */
async function revoke(
  context: ServiceContext,
  actor: AuditActor,
  key: KeyRecord,
  secret: string | null,
): Promise<KeyRecord> {
  if (key.revoked_at !== null) {
    return key;
  }
  const at = context.clock();
  await markRevoked(context.env.DB, key.id, at, auditOf(context, actor, 'key.revoked', key, {}), secret);
  forgetKey(key.id);
  return { ...key, revoked_at: at };
}

/** Ends the grace period of a key's replaced secret. */
async function endGracePeriod(context: ServiceContext, actor: AuditActor, key: KeyRecord, hash: string): Promise<void> {
  const at = context.clock();
  const changes = { previous_expires_at: { from: key.previous_expires_at, to: at } };
  await endGrace(context.env.DB, key.id, hash, at, auditOf(context, actor, 'key.updated', key, changes));
  forgetKey(key.id);
}

/** Finds a key that is not revoked. */
async function findActiveKey(context: ServiceContext, actor: Actor, id: string): Promise<Result<KeyRecord, Problem>> {
  const found = await getKey(context, actor, id);
  return found.ok && found.value.revoked_at !== null
    ? fail({ code: 'key_revoked', detail: 'The key is revoked. Create a new one.' })
    : found;
}

function differences(before: KeyRecord, after: KeyFields): Record<string, { from: unknown; to: unknown }> {
  const was: Record<string, unknown> = before;
  return Object.fromEntries(
    Object.entries(after)
      .filter(([field, value]) => JSON.stringify(was[field]) !== JSON.stringify(value))
      .map(([field, value]) => [field, { from: was[field], to: value }]),
  );
}
