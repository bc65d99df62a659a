import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { idFloor, isUuidV7, uuidFromHash, uuidV7, type RandomBytes } from './ids.ts';

const zeros: RandomBytes = (count) => new Uint8Array(count);
const ones: RandomBytes = (count) => new Uint8Array(count).fill(0xff);

describe('an id', () => {
  it('is a UUID of version 7 that begins with the time', () => {
    const id = uuidV7(() => 0x0190_0000_0001, zeros)();
    expect(id).toBe('01900000-0001-7000-8000-000000000000');
    expect(isUuidV7(id)).toBe(true);
    expect(isUuidV7(uuidV7(() => 0x0190_0000_0001, ones)())).toBe(true);
  });

  it('sorts after every earlier id when the clock steps back', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 2, maxLength: 200 }), (times) => {
        let at = 0;
        const newId = uuidV7(() => 1_700_000_000_000 + (times[at++] ?? 0));
        const ids = times.map(() => newId());
        expect(ids).toEqual(ids.toSorted());
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids.every(isUuidV7)).toBe(true);
      }),
    );
  });

  it('stays unique when the counter of a millisecond overflows', () => {
    const newId = uuidV7(() => 1, ones);
    const ids = Array.from({ length: 10_000 }, newId);
    expect(new Set(ids).size).toBe(10_000);
    expect(ids).toEqual(ids.toSorted());
  });
});

describe('the floor of a time', () => {
  it('sorts before every id of that millisecond and after every id of the one before', () => {
    const floor = idFloor(0x0190_0000_0001);
    expect(floor).toBe('01900000-0001-7000-8000-000000000000');
    expect(isUuidV7(floor)).toBe(true);
    expect(floor <= uuidV7(() => 0x0190_0000_0001, zeros)()).toBe(true);
    expect(floor > uuidV7(() => 0x0190_0000_0000, ones)()).toBe(true);
  });
});

describe('the UUID of a hash', () => {
  it('keeps the digits of the hash except for the version and the variant', () => {
    expect(uuidFromHash('f'.repeat(64))).toBe('ffffffff-ffff-8fff-bfff-ffffffffffff');
    expect(uuidFromHash('0'.repeat(64))).toBe('00000000-0000-8000-8000-000000000000');
    expect(uuidFromHash('0123456789abcdef0123456789abcdef')).toBe('01234567-89ab-8def-8123-456789abcdef');
  });
});
