import { findBySecret, findKeyWithTags, recordKeyUse, type KeyRecord } from '../../storage/d1/keys.ts';
import { forgetGoodKey, rememberGoodKey, wasGoodKey } from '../../storage/edge-cache/good-keys.ts';
import { checkEdgeLimit } from './edge-rate-limit.ts';
import { IsolateCache } from '../../lib/isolate-cache.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { hashKey, isKey } from '../../domain/key/format.ts';

/**
 * How long an isolate caches a key. A revoked or restricted key works for at most this long. The time counts from
 * before the read and is below the documented 30 s, so that a slow read does not exceed them.
 */
export const CACHE_MS = 25_000;
/**
 * The maximum age of a key when a long response rechecks it. With 5 s between two checks (routes/http/sse.ts) the total
 * stays below 30 s.
 */
export const RECHECK_MS = 20_000;
/**
 * A request that has taken this long checks its key again before it has an effect, because the first check may already
 * have been `CACHE_MS` old. The sum of both is at most the documented 30 s.
 */
export const LONG_MS = 5_000;
/** The most cached entries per isolate; the oldest is removed first. */
const CACHE_ENTRIES = 1000;
/** The precision of `last_used_at`. A key in constant use costs one write per period, across all isolates. */
export const USE_RECORDED_MS = 5 * 60_000;

/** How long this isolate remembers that a secret was valid, and refreshes it in the location's cache. */
const RECENTLY_VALID_MS = 60 * 60_000;
/** The most remembered secrets. Hashes are small, and one isolate sees fewer secrets in an hour. */
const RECENTLY_VALID_ENTRIES = 10_000;

/**
 * The length of a tag: 48 bits of a secret's hash distinguish the secrets of a key and do not reveal its 190 random
 * bits.
 */
const TAG_CHARS = 12;

/** The secret that a request used. `ends_at`: the end of its grace period in ms, when a rotation has replaced it. */
export type SecretUse = { tag: string; ends_at: number | null };

/** `tags`: the tags of the key's secrets, when the key was read by its id. */
type Known = {
  key: KeyRecord;
  ends_at: number | null;
  tags?: { newest: string; previous: string | null };
};

/** Keyed by the hash of a secret, or by id. Secrets themselves are not stored. */
const cache = new IsolateCache<string, Known>({ maxEntries: CACHE_ENTRIES, ttlMs: CACHE_MS });

/** Hashes of secrets that were valid when they were last read. */
const recentlyValid = new IsolateCache<string, 'noted'>({ maxEntries: RECENTLY_VALID_ENTRIES });

/**
 * The result of authentication. `wait_s`: this address has sent too many invalid keys and must wait this many seconds.
 */
export type Identified = { key: KeyRecord; secret: SecretUse } | { key: null; wait_s: number | null };

/**
 * `verifyKey` for requests from outside. Invalid keys are counted per address before anything is read, so that a flood
 * of them costs no reads. A key that was valid recently is not counted, even when its address has sent invalid keys.
 * @param runInBackground runs work for which the response does not wait
 */
export async function identify(
  context: ServiceContext,
  secret: string | null,
  address: string | null,
  runInBackground: (work: Promise<void>) => void,
): Promise<Identified> {
  if (secret === null || !isKey(secret)) {
    return { key: null, wait_s: await checkEdgeLimit(context.env, 'bad_key', address) };
  }
  const hash = await hashKey(secret);
  if (recentlyValid.get(hash, context.clock()) === undefined) {
    const wait_s = await checkEdgeLimit(context.env, 'bad_key', address);
    if (wait_s !== null && !(await wasGoodKey(hash))) {
      return { key: null, wait_s };
    }
  }
  const known = await byHash(context, hash, CACHE_MS);
  if (known === null) {
    recentlyValid.delete(hash);
    runInBackground(forgetGoodKey(hash));
    return { key: null, wait_s: null };
  }
  const now = context.clock();
  if (recentlyValid.get(hash, now, RECENTLY_VALID_MS) === undefined) {
    recentlyValid.set(hash, 'noted', now);
    runInBackground(rememberGoodKey(hash));
  }
  return { key: known.key, secret: { tag: hash.slice(0, TAG_CHARS), ends_at: known.ends_at } };
}

/**
 * Returns the key with this secret; null when it is not valid. Checks form and checksum first, so that random text
 * costs no read.
 * @param age the maximum age of a cached key, in ms
 */
export async function verifyKey(context: ServiceContext, secret: string, age = CACHE_MS): Promise<KeyRecord | null> {
  if (!isKey(secret)) {
    return null;
  }
  return (await byHash(context, await hashKey(secret), age))?.key ?? null;
}

const byHash = async (context: ServiceContext, hash: string, age: number): Promise<Known | null> =>
  ifValid(context, await cached(context, hash, age, () => findBySecret(context.env.DB, hash)));

/**
 * Returns the key with this id if the key, and its secret with this tag, are still valid. Read tokens depend on it.
 * @param tag null for a token without a tag: only the key is checked
 */
export async function keyOf(
  context: ServiceContext,
  id: string,
  tag: string | null,
  age = CACHE_MS,
): Promise<KeyRecord | null> {
  const find = async (): Promise<Known | null> => {
    const found = await findKeyWithTags(context.env.DB, id, TAG_CHARS);
    return found === null ? null : { ...found, ends_at: null };
  };
  const known = await cached(context, id, age, find);
  return known === null ? null : (ifValid(context, { ...known, ends_at: endOf(known, tag) })?.key ?? null);
}

/** When the secret with this tag expires, in ms; null for the newest. A tag of neither secret has expired. */
function endOf({ key, tags }: Known, tag: string | null): number | null {
  if (tag === null || tag === tags?.newest) {
    return null;
  }
  return tag === tags?.previous ? (key.previous_expires_at ?? 0) : 0;
}

/** Removes a key from this isolate's cache. Other isolates follow within `CACHE_MS`. */
export const forgetKey = (id: string): void => cache.deleteWhere(({ key }) => key.id === id);

/** Records that the key was used, unless that was recorded within `USE_RECORDED_MS`. */
export async function recordUse(context: ServiceContext, key: KeyRecord): Promise<void> {
  const now = context.clock();
  if (key.last_used_at !== null && key.last_used_at > now - USE_RECORDED_MS) {
    return;
  }
  // Updates the cached record, so that the next request of this isolate does not write again.
  key.last_used_at = now;
  await recordKeyUse(context.env.DB, key.id, now, now - USE_RECORDED_MS);
}

/** The caller that services see for a key. */
export const callerOf = ({ account, id, environment, endpoints, templates, nodes }: KeyRecord): Caller => ({
  account,
  key: id,
  environment,
  endpoints,
  templates,
  nodes,
});

/** Checks expiry on every use, because a cached key may expire. */
function ifValid(context: ServiceContext, known: Known | null): Known | null {
  const now = context.clock();
  const isPast = (at: number | null): boolean => at !== null && at <= now;
  return known === null || known.key.revoked_at !== null || isPast(known.key.expires_at) || isPast(known.ends_at)
    ? null
    : known;
}

async function cached(
  context: ServiceContext,
  name: string,
  age: number,
  find: () => Promise<Known | null>,
): Promise<Known | null> {
  // From before the read, so that a slow read does not make a key valid for longer.
  const now = context.clock();
  const entry = cache.get(name, now, age);
  if (entry !== undefined) {
    return entry;
  }
  cache.delete(name);
  const known = await find();
  if (known !== null) {
    cache.set(name, known, now);
  }
  return known;
}
