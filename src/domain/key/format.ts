import type { RandomBytes } from '../../lib/ids.ts';

/**
 * The form of an API key: `ce_live_` or `ce_test_`, 32 base62 characters of randomness (190 bits), 6 base62 characters of
 * CRC-32 over all before them. Underscores let a double click select all of it; the checksum lets a typo or a scanner's false
 * hit be refused without a look into storage. It is no security: that is the randomness (reference/http-api.md section 6).
 */

export const ENVIRONMENTS = ['live', 'test'] as const;
export type Environment = (typeof ENVIRONMENTS)[number];

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const RANDOM_CHARS = 32;
const CHECKSUM_CHARS = 6;
/** For secret scanners too: docs/guides/keys.md publishes it without the anchors. */
export const KEY = /^ce_(live|test)_[0-9A-Za-z]{38}$/;
/** A key anywhere in a text, whole or cut short; for redacting and for refusing keys in URLs. */
const KEY_WITHIN = /ce_(live|test)_[0-9A-Za-z]+/g;

/** A new key. Bytes of 248 and above are thrown away, so that every character is equally likely. */
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

/** Whether text has a key's form and checksum. Says nothing about whether the key exists. */
export const isKey = (text: string): boolean =>
  KEY.test(text) && checksum(text.slice(0, -CHECKSUM_CHARS)) === text.slice(-CHECKSUM_CHARS);

const HINT_CHARS = 4;

/** What is shown of a key to tell it from others. */
export const hintOf = (key: string): string => key.slice(-HINT_CHARS);

/** What a key begins with. */
export const prefixOf = (environment: Environment): string => `ce_${environment}_`;

export const containsKey = (text: string): boolean => text.search(KEY_WITHIN) >= 0;

export const redactKeys = (text: string): string => text.replace(KEY_WITHIN, 'ce_$1_[redacted]');

/** SHA-256 of text, lower-case hex: all that is ever stored of a key. */
export async function hashKey(key: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(key));
  return new Uint8Array(digest).toHex();
}

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
