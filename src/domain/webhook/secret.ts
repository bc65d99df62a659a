import { hmacKey } from '../../lib/hmac.ts';

/** Secrets and signatures of Standard Webhooks, symmetric scheme `v1` (spec, "Signature scheme"). */

const PREFIX = 'whsec_';
/** The spec allows 24 to 64 random bytes. */
export const MIN_SECRET_BYTES = 24;
export const MAX_SECRET_BYTES = 64;
/** 256 bits, the size of the hash. */
const NEW_SECRET_BYTES = 32;

/** A signing secret. Times are in ms since the epoch; `expires_at` null: until it is rotated. */
export type Secret = { secret: string; created_at: number; expires_at: number | null };

export const newSecret = (random: (count: number) => Uint8Array): string =>
  PREFIX + random(NEW_SECRET_BYTES).toBase64();

/** The characters and the approximate length of a secret. `isSecret` checks the exact number of bytes. */
export const SECRET_PATTERN = new RegExp(
  `^${PREFIX}(?:[A-Za-z0-9+/]{4}){${Math.floor(MIN_SECRET_BYTES / 3)},${Math.floor(MAX_SECRET_BYTES / 3)}}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`,
);

/** Whether a text is a secret: `whsec_` and the canonical base64 of 24 to 64 bytes. */
export function isSecret(text: string): boolean {
  const bytes = bytesOf(text);
  return (
    bytes !== null &&
    bytes.length >= MIN_SECRET_BYTES &&
    bytes.length <= MAX_SECRET_BYTES &&
    text === PREFIX + bytes.toBase64()
  );
}

function bytesOf(text: string): Uint8Array | null {
  if (!text.startsWith(PREFIX)) {
    return null;
  }
  try {
    return Uint8Array.fromBase64(text.slice(PREFIX.length));
  } catch {
    return null;
  }
}

/** The secrets that sign now, newest first. After a rotation the old one also signs until it expires. */
export const signing = (secrets: readonly Secret[], now: number): Secret[] =>
  secrets.filter((each) => each.expires_at === null || now < each.expires_at);

/**
 * Makes the three headers of an attempt. There is one signature per secret, and a receiver accepts the message when any
 * of them is valid.
 * @param now the time of the attempt in ms, not of the event, because receivers reject old timestamps
 */
export async function signatureHeaders(
  secrets: readonly Secret[],
  message: { id: string; body: string },
  now: number,
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1000));
  const signed = new TextEncoder().encode(`${message.id}.${timestamp}.${message.body}`);
  const signatures = await Promise.all(signing(secrets, now).map((each) => sign(each.secret, signed)));
  return {
    'webhook-id': message.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  };
}

async function sign(secret: string, message: Uint8Array): Promise<string> {
  const bytes = bytesOf(secret);
  if (bytes === null) {
    throw new Error('A stored webhook secret is malformed.');
  }
  return `v1,${new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(bytes), message)).toBase64()}`;
}
