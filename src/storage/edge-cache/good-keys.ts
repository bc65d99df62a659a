/**
 * Which secrets were lately found good at this Cloudflare location, in the location's cache: it outlives an isolate and costs no read
 * of the database. Only hashes go in, as made-up addresses that lead nowhere. A hint: it says whose word is worth looking up.
 */

/** How long a secret counts as lately good, in seconds. */
const KEPT_S = 86_400;

const place = (hash: string): string => `https://good-keys.invalid/${hash}`;

/** Remembers the hash of a secret that is good. Does nothing where the platform has no cache (workers.dev). */
export async function rememberGoodKey(hash: string): Promise<void> {
  const note = new Response(null, { headers: { 'cache-control': `max-age=${KEPT_S}` } });
  await caches.default.put(place(hash), note);
}

/** Forgets a hash whose secret is good no longer: it must not pass a shield because of what it was. */
export async function forgetGoodKey(hash: string): Promise<void> {
  await caches.default.delete(place(hash));
}

export const wasGoodKey = async (hash: string): Promise<boolean> =>
  (await caches.default.match(place(hash))) !== undefined;
