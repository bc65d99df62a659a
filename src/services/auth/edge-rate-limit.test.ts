import { describe, expect, it } from 'vitest';
import { addressGroup } from './edge-rate-limit.ts';

describe('addressGroup', () => {
  it.each([
    ['returns an IPv4 address itself', '203.0.113.7', '203.0.113.7'],
    ['returns the /64 of an IPv6 address', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['returns the same /64 for every spelling', '2001:0DB8:0001:0002::1', '2001:db8:1:2'],
    ['returns another /64 when the fourth group differs', '2001:db8:1:3::1', '2001:db8:1:3'],
    ['returns the IPv4 address of a mapped address', '::ffff:203.0.113.7', '203.0.113.7'],
    ['returns the IPv4 address of a mapped address in hexadecimal', '::ffff:cb00:7107', '203.0.113.7'],
  ])('%s', (_title, address, group) => expect(addressGroup(address)).toBe(group));

  it.each([undefined, '', 'x', '1.2.3', '1.2.3.4.5', '300.1.1.1', '1::2::3', 'fe80::1%eth0', '1.2.3.4, 5.6.7.8'])(
    'returns null for %s, which is not an address',
    (address) => expect(addressGroup(address)).toBeNull(),
  );
});
