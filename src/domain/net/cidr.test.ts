import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contains, isWithin, parseRange } from './cidr.ts';

describe('isWithin', () => {
  it.each([
    ['203.0.113.0/24', '203.0.113.0', '203.0.114.0'],
    ['203.0.113.0/24', '203.0.113.255', '203.0.112.255'],
    ['203.0.113.128/25', '203.0.113.128', '203.0.113.127'],
    ['203.0.113.7', '203.0.113.7', '203.0.113.8'],
    ['2001:db8::/32', '2001:db8:ffff::1', '2001:db9::'],
    ['2001:db8::/127', '2001:DB8:0:0:0:0:0:1', '2001:db8::2'],
    ['::1', '::1', '::'],
    ['10.0.0.0/8', '::ffff:10.1.2.3', '::ffff:11.1.2.3'],
  ])('finds in %s the address %s and not %s', (range, inside, outside) => {
    expect(isWithin([range], inside)).toBe(true);
    expect(isWithin([range], outside)).toBe(false);
  });

  it('finds every address of the version in a range with the prefix 0', () => {
    expect(isWithin(['0.0.0.0/0'], '255.255.255.255')).toBe(true);
    expect(isWithin(['0.0.0.0/0'], '2001:db8::1')).toBe(false);
    expect(isWithin(['::/0'], '2001:db8::1')).toBe(true);
    expect(isWithin(['::/0'], '203.0.113.1')).toBe(false);
  });

  it.each(['', 'localhost', '203.0.113', '203.0.113.0/24', '203.0.113.1, 203.0.113.2', 'fe80::1%eth0'])(
    'does not find "%s", which is not an address',
    (address) => {
      expect(isWithin(['0.0.0.0/0', '::/0'], address)).toBe(false);
    },
  );
});

describe('an address range', () => {
  it.each(['', '1.2.3.4/33', '::/129', '1.2.3.4/', '1.2.3.4/-1', '1.2.3.4/08', '1.2.3.4/24/1', '1.2.3.4/24', '::1/64'])(
    'is not parsed from "%s"',
    (text) => expect(parseRange(text)).toBeNull(),
  );

  it('contains another range if and only if it contains its first and last address', () => {
    const range = fc.tuple(fc.nat({ max: 255 }), fc.nat({ max: 32 })).map(([byte, prefix]) => {
      const network = (BigInt(byte) << 24n) & ((0xffffffffn << BigInt(32 - prefix)) & 0xffffffffn);
      return { version: 4, network, prefix } as const;
    });
    fc.assert(
      fc.property(range, range, (outer, inner) => {
        const last = inner.network + (1n << BigInt(32 - inner.prefix)) - 1n;
        const has = (address: bigint) => contains(outer, { version: 4, network: address, prefix: 32 });
        expect(contains(outer, inner)).toBe(has(inner.network) && has(last));
      }),
    );
  });
});
