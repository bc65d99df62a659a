import { parseIpv4, parseIpv6 } from './address.ts';

/**
 * Ranges of IP addresses in CIDR notation (RFC 4632, RFC 4291): `203.0.113.0/24`, `2001:db8::/32`, or one address.
 *
 * Own code: `ipaddr.js` 2.5 reads `010.0.0.0/8` as `8.0.0.0/8` and accepts `10.0.0.1/8`. A range with an unexpected
 * meaning would open an account to other addresses.
 */

export type Range = { version: 4 | 6; network: bigint; prefix: number };

const BITS = { 4: 32, 6: 128 } as const;

/** Parses a range; null when it is invalid. Bits set beyond the prefix make it invalid. */
export function parseRange(text: string): Range | null {
  const [address = '', length, ...more] = text.split('/');
  const parsed = parseAddress(address);
  if (parsed === null || more.length > 0 || (length !== undefined && !/^(0|[1-9]\d{0,2})$/.test(length))) {
    return null;
  }
  const bits = BITS[parsed.version];
  const prefix = length === undefined ? bits : Number(length);
  const outside = BigInt(bits - prefix);
  return prefix > bits || (parsed.network >> outside) << outside !== parsed.network ? null : { ...parsed, prefix };
}

/** Whether `outer` contains all of `inner`. A single address is a range too. */
export function contains(outer: Range, inner: Range): boolean {
  const outside = BigInt(BITS[outer.version] - outer.prefix);
  return (
    outer.version === inner.version &&
    outer.prefix <= inner.prefix &&
    outer.network >> outside === inner.network >> outside
  );
}

/** Whether one of the ranges contains an address. False for text that is not an address. */
export function isWithin(ranges: readonly string[], address: string): boolean {
  const one = parseRange(address);
  return (
    one !== null &&
    !address.includes('/') &&
    ranges.some((text) => {
      const range = parseRange(text);
      return range !== null && contains(range, one);
    })
  );
}

/** Parses an address. An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) becomes the IPv4 address. */
function parseAddress(text: string): Omit<Range, 'prefix'> | null {
  const v4 = parseIpv4(text);
  if (v4 !== null) {
    return { version: 4, network: joined(v4, 8n) };
  }
  const v6 = parseIpv6(text);
  if (v6 === null) {
    return null;
  }
  const network = joined(v6, 16n);
  return network >> 32n === 0xffffn ? { version: 4, network: network & 0xffffffffn } : { version: 6, network };
}

const joined = (parts: readonly number[], bits: bigint): bigint =>
  parts.reduce((sum, part) => (sum << bits) | BigInt(part), 0n);
