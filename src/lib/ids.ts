import type { Clock } from './clock.ts';

/** Makes a new id: a lower-case UUID version 7 (RFC 9562), so that ids sort by the time they were made. */
export type NewId = () => string;

const RANDOM_BYTES = 10;

/** Source of random bytes; the platform's in production. */
export type RandomBytes = (count: number) => Uint8Array;

export const systemRandom: RandomBytes = (count) => crypto.getRandomValues(new Uint8Array(count));

/**
 * Ids that rise strictly within one isolate, even for calls in the same millisecond or when the clock steps back:
 * the 12 bits after the time (rand_a) count up, and a full counter borrows the next millisecond (RFC 9562 section 6.2, method 1).
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
    const tail = rest.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const count = counter.toString(16).padStart(3, '0');
    return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${tail.slice(0, 4)}-${tail.slice(4)}`;
  };
}

/** The smallest id that could be made at a time (ms since the epoch): ids made before it sort before it. */
export function idFloor(ms: number): string {
  const time = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether text has the form of an id made here. Checked before an object is addressed by it. */
export const isUuidV7 = (text: string): boolean => UUID_V7.test(text);
