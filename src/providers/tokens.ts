import { hmacKey } from '../lib/hmac.ts';

/**
 * Short-lived bearer tokens that the gateway gives to its own workers, to RunPod's webhook and to browsers, and checks without
 * storage: `<expiry, s since the epoch>.<HMAC-SHA256 over purpose, job, attempt or key, and expiry>`. Bound to one purpose, one job,
 * and the attempt it is for or the key and its secret that made it.
 */

export type TokenPurpose = 'worker' | 'webhook';
export type TokenBinding = { purpose: TokenPurpose; job: string; attempt: number };
/** `secret`: the tag of the key's secret (services/auth/verify-key.ts); null in tokens of gateways that did not tell secrets apart. */
export type ReadBinding = { purpose: 'read'; job: string; key: string; secret: string | null };
type Binding = TokenBinding | ReadBinding;

const encoder = new TextEncoder();

/** One spelling per token: no leading zero, and none of the bits that base64 leaves unused in the last character. */
const TOKEN = /^([1-9]\d{0,11})\.([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])$/;

/** Signs a token that is good until `expires_at` (ms since the epoch). */
export async function signToken(secret: string, binding: Binding, expires_at: number): Promise<string> {
  const expiry = Math.ceil(expires_at / 1000);
  const mac = await crypto.subtle.sign('HMAC', await hmacKey(encoder.encode(secret)), signedBytes(binding, expiry));
  return `${expiry}.${base64url(mac)}`;
}

/** Whether the token was signed by this secret for this binding and is still good. The comparison takes constant time. */
export async function tokenStands(secret: string, binding: Binding, token: string, now: number): Promise<boolean> {
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

/** When a token that stands ends, in ms since the epoch. */
export const expiryOf = (token: string): number => Number(token.slice(0, token.indexOf('.'))) * 1000;

const signedBytes = (binding: Binding, expiry: number): Uint8Array => {
  const third = binding.purpose === 'read' ? makerOf(binding) : binding.attempt;
  return encoder.encode(`${binding.purpose}:${binding.job}:${third}:${expiry}`);
};

const makerOf = ({ key, secret }: ReadBinding): string => (secret === null ? key : `${key}-${secret}`);

const base64url = (bytes: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

const fromBase64url = (text: string): Uint8Array =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
