import type { RandomBytes } from '../../lib/ids.ts';
import { sha256Hex } from '../../lib/hash.ts';

/**
 * The form of an API key: `ce_live_` or `ce_test_`, 32 base62 characters of randomness (190 bits), 6 base62 characters
 * of CRC-32 over everything before them. With underscores a double click selects the whole key. With the checksum a
 * typo or a scanner's false positive is rejected without reading storage. Only the randomness gives security
 * (reference/http-api.md section 6).
 */

export const ENVIRONMENTS = ['live', 'test'] as const;
export type Environment = (typeof ENVIRONMENTS)[number];

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const RANDOM_CHARS = 32;
const CHECKSUM_CHARS = 6;
/** docs/guides/keys.md publishes this pattern without the anchors for secret scanners. */
export const KEY = /^ce_(live|test)_[0-9A-Za-z]{38}$/;
/** A complete or truncated key anywhere in a text, for redacting keys and for rejecting keys in URLs. */
const KEY_WITHIN = /ce_(live|test)_[0-9A-Za-z]+/g;

/** Makes a new key. Skips random bytes of 248 and above, so that every character is equally likely. */
export function makeKey(environment: Environment, random: RandomBytes): string {
  let secret = '';
  while (secret.length < RANDOM_CHARS) {
    for (const byte of random(RANDOM_CHARS)) {
      if (byte < 248 && secret.length < RANDOM_CHARS) {
        secret += ALPHABET.charAt(byte % ALPHABET.length);
      }
    }
  }
  const body = `ce_${environment}_${secret}`;
  return body + checksum(body);
}

/** Whether a text has the form and checksum of a key. The key may not exist. */
export const isKey = (text: string): boolean =>
  KEY.test(text) && checksum(text.slice(0, -CHECKSUM_CHARS)) === text.slice(-CHECKSUM_CHARS);

const HINT_CHARS = 4;

/** The last characters of a key, which identify it in lists. */
export const hintOf = (key: string): string => key.slice(-HINT_CHARS);

/** The prefix of a key. */
export const prefixOf = (environment: Environment): string => `ce_${environment}_`;

export const containsKey = (text: string): boolean => text.search(KEY_WITHIN) >= 0;

export const redactKeys = (text: string): string => text.replace(KEY_WITHIN, 'ce_$1_[redacted]');

/** SHA-256 of a key in lower-case hex. Only this hash is stored. */
export const hashKey = (key: string): Promise<string> => sha256Hex(key);

function checksum(text: string): string {
  let value = crc32(new TextEncoder().encode(text));
  let out = '';
  for (let at = 0; at < CHECKSUM_CHARS; at += 1) {
    out = ALPHABET.charAt(value % ALPHABET.length) + out;
    value = Math.floor(value / ALPHABET.length);
  }
  return out;
}

/** CRC-32 as in ISO 3309 (polynomial 0xEDB88320, reflected). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}
