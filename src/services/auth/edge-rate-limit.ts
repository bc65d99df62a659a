import type { Env, RateLimitName } from '../../env.ts';
import { parseIpv4, parseIpv6 } from '../../domain/net/address.ts';

/**
 * Cloudflare's rate limiting bindings, checked before the exact limits. They are cheap, count per Cloudflare location,
 * and are approximate (reference/cloudflare.md section 7). A limit without a binding is not applied.
 */

/** The limits: invalid credentials per address, unauthenticated calls per address, calls per key. */
export type EdgeLimit = 'bad_key' | 'open' | 'key';

/**
 * The binding of each limit, and its period in seconds as in `wrangler.jsonc`, which is the longest wait after a
 * refusal.
 */
export const EDGE_LIMITS = {
  bad_key: { binding: 'RATE_LIMIT_BAD_KEY', period_s: 60 },
  open: { binding: 'RATE_LIMIT_OPEN', period_s: 60 },
  key: { binding: 'RATE_LIMIT_KEY', period_s: 10 },
} as const satisfies Record<EdgeLimit, { binding: RateLimitName; period_s: number }>;

/**
 * Counts one call of `who`. Returns null when it may pass, else the seconds to wait. `who` null: the call is not
 * counted.
 */
export async function checkEdgeLimit(env: Env, limitName: EdgeLimit, who: string | null): Promise<number | null> {
  const { binding, period_s } = EDGE_LIMITS[limitName];
  const limit = env[binding];
  if (limit === undefined || who === null) {
    return null;
  }
  try {
    const { success } = await limit.limit({ key: `${limitName}:${who}` });
    return success ? null : period_s;
  } catch {
    // A failing limiter must not block requests.
    return null;
  }
}

/**
 * The group in which an address is counted: an IPv4 address itself, or the /64 of an IPv6 address, because one customer
 * has a whole /64 (RFC 6177). Null when the text is not an address.
 */
export function addressGroup(address: string | undefined): string | null {
  const text = address ?? '';
  if (parseIpv4(text) !== null) {
    return text;
  }
  const groups = text.includes(':') ? parseIpv6(text) : null;
  if (groups === null) {
    return null;
  }
  const [high = 0, low = 0] = groups.slice(6);
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  return mapped
    ? [high >> 8, high & 255, low >> 8, low & 255].join('.')
    : groups
        .slice(0, 4)
        .map((group) => group.toString(16))
        .join(':');
}
