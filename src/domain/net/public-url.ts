import { fail, ok, type Result } from '../result.ts';
import { isPublicIpv4, isPublicIpv6, parseIpv4, parseIpv6 } from './address.ts';

/**
 * Which URLs the gateway calls on a client's behalf (webhooks, inputs by URL). By rule only: a Worker cannot see what a name
 * resolves to, and the platform itself routes to no private network (reference/http-api.md section 7). Callers must also fetch
 * with `redirect: 'manual'`, and check again whatever a redirect names.
 */

/** Longest URL that is taken, in characters; the platform's own limit is 16 KB (reference/cloudflare.md section 4). */
export const MAX_URL_CHARS = 2048;

/** HTTPS and its usual alternative. Others are how one talks to mail servers and databases. */
const PORTS = new Set(['', '443', '8443']);

/** Names that stand for something inside: RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal` (2024), and habits of company networks. */
const INSIDE = new Set([
  'localhost',
  'local',
  'localdomain',
  'internal',
  'intranet',
  'private',
  'corp',
  'home',
  'lan',
  'arpa',
  'test',
  'invalid',
  'example',
  'onion',
]);

/**
 * The URL, parsed, if it may be called; else why not, for people.
 * @param gateway the gateway's own origin (`PUBLIC_URL`). A URL of its host would let a client call it from within. If the gateway
 *   itself is on loopback (local development), `http:` and any port of loopback are allowed, save its own.
 */
export function publicUrl(text: string, gateway: string): Result<URL, string> {
  if (text.length > MAX_URL_CHARS) {
    return fail(`a URL may have ${MAX_URL_CHARS} characters`);
  }
  // The parser drops these silently; what was checked must be what was written.
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u0020\u007f\\]/.test(text)) {
    return fail('a URL holds no space, control character or backslash');
  }
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return fail('must be an absolute https URL');
  }
  if (url.username !== '' || url.password !== '' || /^[a-z]+:\/*[^/?#]*@/i.test(text)) {
    return fail('must hold no user name or password');
  }
  const own = new URL(gateway);
  if (isLoopback(hostOf(url)) && isLoopback(hostOf(own))) {
    return portOf(url) === portOf(own) ? fail('must not be the gateway itself') : ok(url);
  }
  if (url.protocol !== 'https:') {
    return fail('must be an https URL');
  }
  if (!PORTS.has(url.port)) {
    return fail('must use port 443 or 8443');
  }
  const detail = hostFault(hostOf(url), hostOf(own));
  return detail === null ? ok(url) : fail(detail);
}

function hostFault(host: string, own: string): string | null {
  const inside = 'must have a host on the public internet';
  const v4 = parseIpv4(host);
  if (v4 !== null) {
    return isPublicIpv4(v4) ? null : inside;
  }
  if (host.startsWith('[')) {
    const v6 = parseIpv6(host.slice(1, -1));
    return v6 !== null && isPublicIpv6(v6) ? null : inside;
  }
  const labels = host.split('.');
  const top = labels.at(-1) ?? '';
  if (labels.length < 2 || labels.includes('') || INSIDE.has(top)) {
    return inside;
  }
  return host === own || host.endsWith(`.${own}`) ? 'must not be the gateway itself' : null;
}

/** The host as names are compared: the parser has lower-cased it and spelled out every form of an IPv4 address. */
const hostOf = (url: URL): string => url.hostname.replace(/\.$/, '');

const portOf = (url: URL): string => (url.port === '' ? url.protocol : url.port);

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || (parseIpv4(host)?.[0] ?? 0) === 127;
