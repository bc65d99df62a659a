/**
 * HMAC-SHA256 keys, imported once per isolate: importing one for each token was 1.8 % of a submit's processor time
 * (reference/cloudflare-operations.md section 3).
 */

import { IsolateCache } from './isolate-cache.ts';

/** A gateway has one secret for tokens and a few for each webhook. */
const MAX_KEYS = 256;

const keys = new IsolateCache<string, CryptoKey>({ maxEntries: MAX_KEYS });

/**
 * The key that signs and verifies with these bytes. The cache has keys, not promises: a promise belongs to the request
 * that made it, and another request that awaits it may never resume.
 */
export async function hmacKey(secret: Uint8Array): Promise<CryptoKey> {
  const name = secret.toBase64();
  const known = keys.get(name, 0);
  if (known !== undefined) {
    return known;
  }
  const made = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
    'verify',
  ]);
  keys.set(name, made, 0);
  return made;
}
