import type { Clock } from './clock.ts';

/** Makes a new id: a lower-case UUID version 7 (RFC 9562), so that ids sort by the time of their creation. */
export type NewId = () => string;

const RANDOM_BYTES = 10;

/** A source of random bytes: the platform's in production. */
export type RandomBytes = (count: number) => Uint8Array;

export const systemRandom: RandomBytes = (count) => crypto.getRandomValues(new Uint8Array(count));

/**
 * Ids that rise strictly within one isolate, even in the same millisecond or after the clock was set back: the 12 bits
 * after the time (rand_a) count up, and a full counter borrows the next millisecond (RFC 9562 section 6.2, method 1).
 */
export function uuidV7(clock: Clock, random: RandomBytes = systemRandom): NewId {
  let lastMs = -1;
  let counter = 0;
  return () => {
    const bytes = random(RANDOM_BYTES);
    const now = clock();
    if (now > lastMs) {
      lastMs = now;
      // Starting in the lower half leaves room to count.
      counter = (((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0)) & 0x7ff;
    } else {
      counter += 1;
      if (counter > 0xfff) {
        lastMs += 1;
        counter = 0;
      }
    }
    const time = lastMs.toString(16).padStart(12, '0');
    const rest = [...bytes.subarray(2)].map((byte, at) => (at === 0 ? (byte & 0x3f) | 0x80 : byte));
    const tail = new Uint8Array(rest).toHex();
    const count = counter.toString(16).padStart(3, '0');
    return dashed(`${time}7${count}${tail}`);
  };
}

/** The smallest id of a time (ms since the epoch): earlier ids sort before it. */
export function idFloor(ms: number): string {
  const time = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return dashed(`${time}70008000000000000000`);
}

/** A UUID that stands for a hash (hex digits): version 8, custom (RFC 9562 section 5.8). */
export function uuidFromHash(hash: string): string {
  const variant = ((Number.parseInt(hash.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return dashed(`${hash.slice(0, 12)}8${hash.slice(13, 16)}${variant}${hash.slice(17, 32)}`);
}

/** The 32 hex digits of a UUID in its text form. */
const dashed = (digits: string): string => digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether a text has the form of an id made here. It is checked before a Durable Object is addressed by it. */
export const isUuidV7 = (text: string): boolean => UUID_V7.test(text);
