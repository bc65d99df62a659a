import { describe, expect, it } from 'vitest';
import { addressGroup } from './edge-rate-limit.ts';

describe('an address stands for', () => {
  it.each([
    ['itself, in version 4', '203.0.113.7', '203.0.113.7'],
    ['its /64, in version 6', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['the same /64 however it is written', '2001:0DB8:0001:0002::1', '2001:db8:1:2'],
    ['another /64 where the fourth group differs', '2001:db8:1:3::1', '2001:db8:1:3'],
    ['the version 4 address that it maps', '::ffff:203.0.113.7', '203.0.113.7'],
    ['the version 4 address that it maps in hexadecimal', '::ffff:cb00:7107', '203.0.113.7'],
  ])('%s', (_title, address, group) => expect(addressGroup(address)).toBe(group));

  it.each([undefined, '', 'x', '1.2.3', '1.2.3.4.5', '300.1.1.1', '1::2::3', 'fe80::1%eth0', '1.2.3.4, 5.6.7.8'])(
    'nobody where it is none: %s',
    (address) => expect(addressGroup(address)).toBeNull(),
  );
});
