import { hmacKey } from '../lib/hmac.ts';

/**
 * Short-lived bearer tokens for the gateway's own workers, for RunPod's webhook and for browsers. They are verified
 * without storage: `<expiry, s since the epoch>.<HMAC-SHA256 over purpose, job, attempt or key, and expiry>`. A token
 * is bound to one purpose and one job, and to either an attempt or the key that issued it.
 */

export type TokenPurpose = 'worker' | 'webhook';
export type TokenBinding = { purpose: TokenPurpose; job: string; attempt: number };
/** `secret`: the tag of the key's secret (services/auth/verify-key.ts); null in tokens of older gateways. */
export type ReadBinding = { purpose: 'read'; job: string; key: string; secret: string | null };
type Binding = TokenBinding | ReadBinding;

const encoder = new TextEncoder();

/** Each token has exactly one form: no leading zero, and the unused bits of the last base64 character are zero. */
const TOKEN = /^([1-9]\d{0,11})\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])$/;

/** Signs a token that is valid until `expires_at` (ms since the epoch). */
export async function signToken(secret: string, binding: Binding, expires_at: number): Promise<string> {
  const expiry = Math.ceil(expires_at / 1000);
  const mac = await crypto.subtle.sign('HMAC', await hmacKey(encoder.encode(secret)), signedBytes(binding, expiry));
  return `${expiry}.${base64url(mac)}`;
}

/** Whether the token was signed with this secret for this binding and has not expired. Compares in constant time. */
export async function isTokenValid(secret: string, binding: Binding, token: string, now: number): Promise<boolean> {
  const match = TOKEN.exec(token);
  if (match?.[1] === undefined || match[2] === undefined) {
    return false;
  }
  const expiry = Number(match[1]);
  if (expiry * 1000 < now) {
    return false;
  }
  return crypto.subtle.verify(
    'HMAC',
    await hmacKey(encoder.encode(secret)),
    fromBase64url(match[2]),
    signedBytes(binding, expiry),
  );
}

/** The expiry of a valid token, in ms since the epoch. */
export const expiryOf = (token: string): number => Number(token.slice(0, token.indexOf('.'))) * 1000;

const signedBytes = (binding: Binding, expiry: number): Uint8Array => {
  const subject = binding.purpose === 'read' ? issuerOf(binding) : binding.attempt;
  return encoder.encode(`${binding.purpose}:${binding.job}:${subject}:${expiry}`);
};

const issuerOf = ({ key, secret }: ReadBinding): string => (secret === null ? key : `${key}-${secret}`);

const base64url = (bytes: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

const fromBase64url = (text: string): Uint8Array =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
