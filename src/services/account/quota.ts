import type { Quota } from '../../contract/admission.ts';
import { accountStub } from '../../durable-objects/shared/stubs.ts';
import type { Caller, Core } from '../context.ts';

/** How long a cached quota is used for requests that consume nothing. */
const FRESH_MS = 2_000;
/** The most cached entries per isolate; the oldest is removed first. */
const ENTRIES = 1000;

const quotaCache = new Map<string, { quota: Quota; at: number }>();

/**
 * Returns the remaining quota of the account for the response headers. A submit gets an exact quota from admission.
 * Other requests use this isolate's cached quota and ask the Account object only when it is older than `FRESH_MS`, so
 * that polling clients do not cost one object call per request. Null when the object does not answer, because a header
 * must not fail a request.
 */
export async function quotaOf(core: Core, caller: Caller): Promise<Quota | null> {
  const known = quotaCache.get(caller.account);
  const now = core.clock();
  if (known !== undefined && now >= known.at && now - known.at < FRESH_MS) {
    return known.quota;
  }
  try {
    const quota = await accountStub(core.env, caller.account).quota();
    cacheQuota(caller.account, quota, now);
    return quota;
  } catch {
    return null;
  }
}

/** Caches a quota for the next responses. */
export function cacheQuota(account: string, quota: Quota, at: number): void {
  quotaCache.delete(account);
  if (quotaCache.size >= ENTRIES) {
    const oldest = quotaCache.keys().next();
    if (!oldest.done) {
      quotaCache.delete(oldest.value);
    }
  }
  quotaCache.set(account, { quota, at });
}
