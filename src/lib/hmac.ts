/**
 * HMAC-SHA256 keys, imported once per isolate: importing one for each token was 1.8 % of a submit's processor time
 * (reference/cloudflare-operations.md section 3).
 */

/** A gateway has one secret for tokens and a few for each webhook. The oldest is imported again when it is needed. */
const MAX_KEYS = 256;

const keys = new Map<string, CryptoKey>();

/**
 * The key that signs and verifies with these bytes. Kept once it is there and not as a promise: a promise belongs to the request that
 * made it, and another request that waits for it may wait for ever.
 */
export async function hmacKey(secret: Uint8Array): Promise<CryptoKey> {
  const name = secret.toBase64();
  const known = keys.get(name);
  if (known !== undefined) {
    return known;
  }
  const made = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
    'verify',
  ]);
  const oldest = keys.size >= MAX_KEYS ? keys.keys().next() : null;
  if (oldest?.done === false) {
    keys.delete(oldest.value);
  }
  keys.set(name, made);
  return made;
}
