/**
 * Parses IP addresses and decides which of them are on the public internet.
 *
 * Own code: `ipaddr.js` 2.5 lists special ranges and treats all other addresses as unicast, for example the unassigned
 * `4000::1`. Here only addresses that are known to be public may pass. `hono/utils/ipaddr` has no such list.
 */

export type Ipv4 = readonly [number, number, number, number];

/** Parses decimal `a.b.c.d`, the form into which URL parsers convert every IPv4 address; null for anything else. */
export function parseIpv4(text: string): Ipv4 | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) {
    return null;
  }
  const [a, b, c, d] = [Number(match[1]), Number(match[2]), Number(match[3]), Number(match[4])];
  return Math.max(a, b, c, d) > 255 ? null : [a, b, c, d];
}

/**
 * Networks that are not on the public internet, as [network, bits]: IANA's IPv4 Special-Purpose Address Registry (RFC
 * 6890), multicast (RFC 5771), and anycast networks.
 */
const SPECIAL_IPV4: readonly (readonly [Ipv4, number])[] = [
  [[0, 0, 0, 0], 8], // this network
  [[10, 0, 0, 0], 8], // private
  [[100, 64, 0, 0], 10], // shared by carriers (CGNAT)
  [[127, 0, 0, 0], 8], // loopback
  [[169, 254, 0, 0], 16], // link-local; where clouds keep their metadata
  [[172, 16, 0, 0], 12], // private
  [[192, 0, 0, 0], 24], // protocol assignments
  [[192, 0, 2, 0], 24], // documentation
  [[192, 31, 196, 0], 24], // AS112
  [[192, 52, 193, 0], 24], // AMT
  [[192, 88, 99, 0], 24], // 6to4 relays
  [[192, 168, 0, 0], 16], // private
  [[192, 175, 48, 0], 24], // AS112
  [[198, 18, 0, 0], 15], // benchmarks
  [[198, 51, 100, 0], 24], // documentation
  [[203, 0, 113, 0], 24], // documentation
  [[224, 0, 0, 0], 4], // multicast
  [[240, 0, 0, 0], 4], // reserved, and broadcast
];

export const isPublicIpv4 = (address: Ipv4): boolean =>
  !SPECIAL_IPV4.some(([network, bits]) => toNumber(address) >>> (32 - bits) === toNumber(network) >>> (32 - bits));

const toNumber = ([a, b, c, d]: Ipv4): number => ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;

/**
 * Parses an IPv6 address into its eight groups; null for anything else. Rejects zones (`%eth0`), which only have a
 * local meaning.
 */
export function parseIpv6(text: string): readonly number[] | null {
  const [head, tail, ...more] = text.split('::');
  if (head === undefined || more.length > 0) {
    return null;
  }
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  if (left === null || right === null) {
    return null;
  }
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) {
    return null;
  }
  return [...left, ...Array.from({ length: missing }, () => 0), ...right];
}

function groups(text: string): number[] | null {
  if (text === '') {
    return [];
  }
  const found: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const v4 = index === parts.length - 1 ? parseIpv4(part) : null;
    if (v4 !== null) {
      found.push((v4[0] << 8) | v4[1], (v4[2] << 8) | v4[3]);
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) {
      found.push(Number.parseInt(part, 16));
    } else {
      return null;
    }
  }
  return found;
}

/** Special networks within global unicast, as [leading groups, bits]: IANA's IPv6 Special-Purpose Address Registry. */
const SPECIAL_IPV6: readonly (readonly [readonly number[], number])[] = [
  [[0x2001, 0], 23], // protocol assignments: Teredo, PCP, TURN, benchmarks, AMT, AS112, ORCHID, drone ids
  [[0x2001, 0xdb8], 32], // documentation
  [[0x2002], 16], // 6to4: an IPv4 address in disguise
  [[0x2620, 0x4f, 0x8000], 48], // AS112
  [[0x3fff, 0], 20], // documentation
];

/**
 * Only global unicast (2000::/3) is public. Mapped and translated IPv4 addresses, loopback, ULA, link-local and
 * multicast are outside of it.
 */
export const isPublicIpv6 = (address: readonly number[]): boolean =>
  startsWith(address, [0x2000], 3) && !SPECIAL_IPV6.some(([network, bits]) => startsWith(address, network, bits));

/** Whether the first `bits` of an address equal those of a network, which has at least that many bits. */
const startsWith = (address: readonly number[], network: readonly number[], bits: number): boolean =>
  network.every((group, index) => {
    const beyond = Math.max(0, 16 * (index + 1) - bits);
    return (address[index] ?? 0) >>> beyond === group >>> beyond;
  });
