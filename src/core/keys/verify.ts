import { findKey } from '../../storage/d1/keys.ts';
import type { Caller, Core } from '../context.ts';
import { hashKey, isKey } from './format.ts';

/** A revoked key works at most this much longer in an isolate that has just seen it. */
const CACHE_MS = 30_000;
/** Bounds the memory of an isolate; the oldest entry goes first. */
const CACHE_ENTRIES = 1000;

const verified = new Map<string, { caller: Caller; until: number }>();

/**
 * Who holds this key; null for anything that is no valid key. Form and checksum are checked first, so that noise costs no
 * read. The cache is per isolate and keyed by hash: the key itself is not kept.
 */
export async function verifyKey(core: Core, key: string): Promise<Caller | null> {
  if (!isKey(key)) {
    return null;
  }
  const hash = await hashKey(key);
  const now = core.clock();
  const known = verified.get(hash);
  if (known !== undefined && now < known.until) {
    return known.caller;
  }
  verified.delete(hash);
  const row = await findKey(core.env.DB, hash);
  if (row === null) {
    return null;
  }
  const caller: Caller = { account: row.account, key: row.id, environment: row.environment };
  if (verified.size >= CACHE_ENTRIES) {
    const oldest = verified.keys().next();
    if (!oldest.done) {
      verified.delete(oldest.value);
    }
  }
  verified.set(hash, { caller, until: now + CACHE_MS });
  return caller;
}
