/**
 * IP addresses as numbers, and which of them are on the public internet.
 *
 * Own code: `ipaddr.js` 2.5 lists what is not public and calls the rest unicast (`4000::1`, which is nobody's), where only what is
 * known to be public may pass; `hono/utils/ipaddr` has no such list.
 */

export type Ipv4 = readonly [number, number, number, number];

/** `a.b.c.d` in decimal, as URL parsers spell every form of an IPv4 address; null for anything else. */
export function parseIpv4(text: string): Ipv4 | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) {
    return null;
  }
  const [a, b, c, d] = [Number(match[1]), Number(match[2]), Number(match[3]), Number(match[4])];
  return Math.max(a, b, c, d) > 255 ? null : [a, b, c, d];
}

/**
 * What is not for use on the public internet, as [network, bits]: IANA's IPv4 Special-Purpose Address Registry (RFC 6890) with
 * multicast (RFC 5771), and the anycast nets that no server of a client's can have.
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

/** The eight groups of an IPv6 address; null for anything else. Zones (`%eth0`) are refused: they only make sense inside. */
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

/** Within global unicast, what is not for servers: IANA's IPv6 Special-Purpose Address Registry, as [leading groups, bits]. */
const SPECIAL_IPV6: readonly (readonly [readonly number[], number])[] = [
  [[0x2001, 0], 23], // protocol assignments: Teredo, PCP, TURN, benchmarks, AMT, AS112, ORCHID, drone ids
  [[0x2001, 0xdb8], 32], // documentation
  [[0x2002], 16], // 6to4: an IPv4 address in disguise
  [[0x2620, 0x4f, 0x8000], 48], // AS112
  [[0x3fff, 0], 20], // documentation
];

/** Only global unicast (2000::/3) counts. Everything that maps or translates to IPv4, loopback, ULA, link-local and multicast lies outside of it. */
export const isPublicIpv6 = (address: readonly number[]): boolean =>
  startsWith(address, [0x2000], 3) && !SPECIAL_IPV6.some(([network, bits]) => startsWith(address, network, bits));

/** Whether the first `bits` of an address are those of a network, whose groups hold at least so many. */
const startsWith = (address: readonly number[], network: readonly number[], bits: number): boolean =>
  network.every((group, index) => {
    const beyond = Math.max(0, 16 * (index + 1) - bits);
    return (address[index] ?? 0) >>> beyond === group >>> beyond;
  });
