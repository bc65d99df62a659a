import { findBySecret, findKeyWithTags, noteKeyUse, type KeyRecord } from '../../storage/d1/keys.ts';
import { forgetGoodKey, rememberGoodKey, wasGoodKey } from '../../storage/edge-cache/good-keys.ts';
import { shielded } from './edge-rate-limit.ts';
import type { Caller, Core } from '../context.ts';
import { hashKey, isKey } from '../../domain/key/format.ts';

/**
 * A key that is revoked or bounded works on for at most this long in an isolate that has just seen it. Counted from before the
 * read, and below the 30 s that are promised, so that a slow read does not break the promise.
 */
export const CACHE_MS = 25_000;
/** An answer that goes on for long asks again, and takes nothing older than this. With the 5 s between two questions (routes/http/sse.ts) it keeps the promise. */
export const RECHECK_MS = 20_000;
/**
 * What took this long is done, or answered, only if its key still stands: the check before it may be `CACHE_MS` old already. Below
 * the 30 s that are promised less that time.
 */
export const LONG_MS = 5_000;
/** Bounds the memory of an isolate; the oldest entry goes first. */
const CACHE_ENTRIES = 1000;
/** How exact `last_used_at` is. A key in constant use costs one write in this time, however many isolates see it. */
export const USE_NOTED_MS = 5 * 60_000;

/** How long this isolate remembers that a secret was good, and says so again to the location's cache. */
const GOOD_MS = 60 * 60_000;
/** Hashes are small; more secrets than this in one isolate are not seen in an hour. */
const GOOD_ENTRIES = 10_000;

/** How much of a secret's hash tells a key's secrets apart: 48 bits, of which nothing leads back to 190 of chance. */
const TAG_CHARS = 12;

/** Which of its key's secrets somebody came with. `ends_at`: the end of its grace, in ms, if a rotation has replaced it. */
export type SecretUse = { tag: string; ends_at: number | null };

/** `tags`: of the key's secrets, where it was read by its id. */
type Known = {
  key: KeyRecord;
  ends_at: number | null;
  tags?: { newest: string; previous: string | null };
};

/** By hash of a secret, or by id. A secret itself is not kept. */
const cache = new Map<string, { known: Known; read_at: number }>();

/** When a secret, by its hash, was last found good by a read. */
const good = new Map<string, number>();

/** Who sends a credential. `wait_s`: so much of what came from this address was no valid key that nothing is read for it, for so long. */
export type Identified = { key: KeyRecord; secret: SecretUse } | { key: null; wait_s: number | null };

/**
 * `verifyKey` for what comes from outside. A flood of keys that are none costs no reads: they are counted for the address they come
 * from, before anything is read. A key that was good lately is not, whoever else shares its address.
 * @param later takes work that the answer need not wait for
 */
export async function identify(
  core: Core,
  secret: string | null,
  address: string | null,
  later: (work: Promise<void>) => void,
): Promise<Identified> {
  if (secret === null || !isKey(secret)) {
    return { key: null, wait_s: await shielded(core.env, 'bad_key', address) };
  }
  const hash = await hashKey(secret);
  if (!good.has(hash)) {
    const wait_s = await shielded(core.env, 'bad_key', address);
    if (wait_s !== null && !(await wasGoodKey(hash))) {
      return { key: null, wait_s };
    }
  }
  const known = await byHash(core, hash, CACHE_MS);
  if (known === null) {
    good.delete(hash);
    later(forgetGoodKey(hash));
    return { key: null, wait_s: null };
  }
  const now = core.clock();
  if (now - (good.get(hash) ?? Number.NEGATIVE_INFINITY) >= GOOD_MS) {
    bounded(good, GOOD_ENTRIES).set(hash, now);
    later(rememberGoodKey(hash));
  }
  return { key: known.key, secret: { tag: hash.slice(0, TAG_CHARS), ends_at: known.ends_at } };
}

/**
 * The key that has this secret; null for anything that is no valid key. Form and checksum are checked first, so that noise costs no
 * read.
 * @param age how old what is known of the key may be, in ms
 */
export async function verifyKey(core: Core, secret: string, age = CACHE_MS): Promise<KeyRecord | null> {
  if (!isKey(secret)) {
    return null;
  }
  return (await byHash(core, await hashKey(secret), age))?.key ?? null;
}

const byHash = async (core: Core, hash: string, age: number): Promise<Known | null> =>
  valid(core, await cached(core, hash, age, () => findBySecret(core.env.DB, hash)));

/**
 * The key with this id, if it is valid and the secret with this tag still works: what a read token stands or falls with.
 * @param tag null for a token that does not say which secret made it: then the key alone counts
 */
export async function keyOf(core: Core, id: string, tag: string | null, age = CACHE_MS): Promise<KeyRecord | null> {
  const find = async (): Promise<Known | null> => {
    const found = await findKeyWithTags(core.env.DB, id, TAG_CHARS);
    return found === null ? null : { ...found, ends_at: null };
  };
  const known = await cached(core, id, age, find);
  return known === null ? null : (valid(core, { ...known, ends_at: endOf(known, tag) })?.key ?? null);
}

/** When the key's secret with this tag ends, in ms; null: it is the newest. One that is neither of the two has ended long ago. */
function endOf({ key, tags }: Known, tag: string | null): number | null {
  if (tag === null || tag === tags?.newest) {
    return null;
  }
  return tag === tags?.previous ? (key.previous_expires_at ?? 0) : 0;
}

/** Makes this isolate look again. Others do within `CACHE_MS`. */
export function forgetKey(id: string): void {
  for (const [name, { known }] of cache) {
    if (known.key.id === id) {
      cache.delete(name);
    }
  }
}

/** Notes that the key was used; nothing, and no write, if that was noted a short time ago. */
export async function noteUse(core: Core, key: KeyRecord): Promise<void> {
  const now = core.clock();
  if (key.last_used_at !== null && key.last_used_at > now - USE_NOTED_MS) {
    return;
  }
  // The cached record, so that the next request of this isolate does not ask again.
  key.last_used_at = now;
  await noteKeyUse(core.env.DB, key.id, now, now - USE_NOTED_MS);
}

/** What the use cases know of a key. */
export const callerOf = ({ account, id, environment, endpoints, templates, nodes }: KeyRecord): Caller => ({
  account,
  key: id,
  environment,
  endpoints,
  templates,
  nodes,
});

/** Looked at on every use: a cached key still ends when it is due. */
function valid(core: Core, known: Known | null): Known | null {
  const now = core.clock();
  const over = (at: number | null): boolean => at !== null && at <= now;
  return known === null || known.key.revoked_at !== null || over(known.key.expires_at) || over(known.ends_at)
    ? null
    : known;
}

async function cached(core: Core, name: string, age: number, find: () => Promise<Known | null>): Promise<Known | null> {
  const now = core.clock();
  const entry = cache.get(name);
  if (entry !== undefined && now < entry.read_at + age) {
    return entry.known;
  }
  cache.delete(name);
  const known = await find();
  if (known === null) {
    return null;
  }
  bounded(cache, CACHE_ENTRIES).set(name, { known, read_at: now });
  return known;
}

/** The map with room for one more: the oldest entry makes it. */
function bounded<Value>(map: Map<string, Value>, entries: number): Map<string, Value> {
  const oldest = map.size >= entries ? map.keys().next() : null;
  if (oldest?.done === false) {
    map.delete(oldest.value);
  }
  return map;
}
