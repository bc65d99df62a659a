/**
 * Remembers in the cache of this Cloudflare location which secrets were valid recently. The cache outlives an isolate
 * and needs no database read. It stores only hashes, as made-up URLs. It is a hint only: it decides whether a key is
 * looked up without being counted as invalid.
 */

/** How long a secret counts as recently valid, in seconds. */
const MAX_AGE_S = 86_400;

const cacheUrl = (hash: string): string => `https://good-keys.invalid/${hash}`;

/** Remembers the hash of a valid secret. Does nothing where the platform has no cache (workers.dev). */
export async function rememberGoodKey(hash: string): Promise<void> {
  const note = new Response(null, { headers: { 'cache-control': `max-age=${MAX_AGE_S}` } });
  await caches.default.put(cacheUrl(hash), note);
}

/** Removes the hash of a secret that is no longer valid, so that it does not bypass the rate limit. */
export async function forgetGoodKey(hash: string): Promise<void> {
  await caches.default.delete(cacheUrl(hash));
}

export const wasGoodKey = async (hash: string): Promise<boolean> =>
  (await caches.default.match(cacheUrl(hash))) !== undefined;
