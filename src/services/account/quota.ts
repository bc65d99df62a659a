import type { Quota } from '../../contract/admission.ts';
import { IsolateCache } from '../../lib/isolate-cache.ts';
import type { Caller, ServiceContext } from '../context.ts';

/** Quotas of accounts, for responses to requests that consume nothing. */
const quotaCache = new IsolateCache<string, Quota>({ maxEntries: 1000, ttlMs: 2_000 });

/**
 * Returns the remaining quota of the account for the response headers. A submit gets an exact quota from admission.
 * Other requests use this isolate's cached quota and ask the Account object only when it is older than two seconds, so
 * that polling clients do not cost one object call per request. Null when the object does not answer, because a header
 * must not fail a request.
 */
export async function quotaOf(context: ServiceContext, caller: Caller): Promise<Quota | null> {
  const now = context.clock();
  const known = quotaCache.get(caller.account, now);
  if (known !== undefined) {
    return known;
  }
  try {
    const quota = await context.env.ACCOUNT.getByName(caller.account).quota();
    cacheQuota(caller.account, quota, now);
    return quota;
  } catch {
    return null;
  }
}

/** Caches a quota for the next responses. */
export const cacheQuota = (account: string, quota: Quota, at: number): void => quotaCache.set(account, quota, at);
