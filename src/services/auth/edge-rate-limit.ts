import type { Env, ShieldName } from '../../env.ts';
import { parseIpv4, parseIpv6 } from '../../domain/net/address.ts';

/**
 * The platform's rate limits, as a shield in front of everything that counts exactly (docs/decisions, shield). They are cheap, per
 * Cloudflare location and only about right (reference/cloudflare.md section 7); whoever has no binding for one does without it.
 */

/** What is limited: wrong credentials of an address, calls of an address that need none, calls of a key. */
export type Guard = 'bad_key' | 'open' | 'key';

/** Each guard's binding, and its period in seconds as `wrangler.toml` has it: the longest that who is refused may have to wait. */
export const SHIELDS = {
  bad_key: { binding: 'SHIELD_BAD_KEY', period_s: 60 },
  open: { binding: 'SHIELD_OPEN', period_s: 60 },
  key: { binding: 'SHIELD_KEY', period_s: 10 },
} as const satisfies Record<Guard, { binding: ShieldName; period_s: number }>;

/** Counts one call. Null: it may pass; else how many seconds to wait. `who` null: nobody to count it for. */
export async function shielded(env: Env, guard: Guard, who: string | null): Promise<number | null> {
  const { binding, period_s } = SHIELDS[guard];
  const limit = env[binding];
  if (limit === undefined || who === null) {
    return null;
  }
  try {
    const { success } = await limit.limit({ key: `${guard}:${who}` });
    return success ? null : period_s;
  } catch {
    // A shield that is broken must not shut the door.
    return null;
  }
}

/**
 * Whom an address stands for: an IPv4 address for itself, an IPv6 address for its /64, which is what one customer has (RFC 6177).
 * Null for what is no address.
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
