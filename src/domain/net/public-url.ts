import { fail, ok, type Result } from '../result.ts';
import { isPublicIpv4, isPublicIpv6, parseIpv4, parseIpv6 } from './address.ts';

/**
 * Decides which URLs the gateway may call for a client (webhooks, inputs by URL). It checks only the URL: a Worker
 * cannot see the resolved address, and Cloudflare does not route to private networks (reference/http-api.md section 7).
 * Callers must also fetch with `redirect: 'manual'`, and check the target of each redirect.
 */

/** The longest accepted URL, in characters. The platform's own limit is 16 KB (reference/cloudflare.md section 4). */
export const MAX_URL_CHARS = 2048;

/** HTTPS and its common alternative. Other ports belong to mail servers, databases and other services. */
const PORTS = new Set(['', '443', '8443']);

/**
 * Names of internal hosts: RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal` (2024), and common names of company
 * networks.
 */
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
 * Returns the parsed URL when the gateway may call it, else the reason as a sentence.
 * @param gateway the gateway's own origin (`PUBLIC_URL`). A URL of its host would let a client call it from inside.
 * When the gateway is on
 *   loopback (local development), `http:` and all other ports of loopback are allowed.
 */
export function publicUrl(text: string, gateway: string): Result<URL, string> {
  if (text.length > MAX_URL_CHARS) {
    return fail(`must have at most ${MAX_URL_CHARS} characters`);
  }
  // The URL parser silently removes these characters, so the checked URL would differ from the given one.
  // oxlint-disable-next-line no-control-regex -- this pattern looks for control characters
  if (/[\u0000-\u0020\u007f\\]/.test(text)) {
    return fail('must not contain a space, a control character or a backslash');
  }
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return fail('must be an absolute https URL');
  }
  if (url.username !== '' || url.password !== '' || /^[a-z]+:\/*[^/?#]*@/i.test(text)) {
    return fail('must not contain a user name or a password');
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
  const detail = hostIssue(hostOf(url), hostOf(own));
  return detail === null ? ok(url) : fail(detail);
}

function hostIssue(host: string, own: string): string | null {
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

/** The host without a final dot. The URL parser has already lower-cased it and normalized IPv4 addresses. */
const hostOf = (url: URL): string => url.hostname.replace(/\.$/, '');

const portOf = (url: URL): string => (url.port === '' ? url.protocol : url.port);

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || (parseIpv4(host)?.[0] ?? 0) === 127;
