import type { NodePolicy } from '../../config/schema.ts';
import { contains, parseRange } from '../net/cidr.ts';
import type { Problem } from '../problems.ts';
import { quote } from '../problems.ts';
import { coversPattern } from '../workflow/class-pattern.ts';
import type { Environment } from './format.ts';
import { grants } from './scopes.ts';

/** The permissions and restrictions of a key. `null`: not restricted. Times are in ms since the epoch. */
export type Rights = {
  environment: Environment;
  scopes: string[];
  expires_at: number | null;
  ip_allow: string[] | null;
  endpoints: string[] | null;
  templates: string[] | null;
  nodes: NodePolicy | null;
};

/**
 * Returns why a key with permissions `held` may not grant `wanted`; null when it may. A key never grants more than it
 * has, so that a leaked key cannot escape its own restrictions. `held` null is the operator, who has no restrictions.
 */
export function exceeds(held: Rights | null, wanted: Rights): Problem | null {
  if (held === null) {
    return null;
  }
  const scope = wanted.scopes.find((each) => !grants(held.scopes, each));
  if (scope !== undefined) {
    return { code: 'insufficient_scope', detail: `A key without the scope ${quote(scope)} cannot grant it.` };
  }
  const field = wider(held, wanted);
  return field === null
    ? null
    : { code: 'exceeds_key', detail: `${quote(field)} would grant more than this key has itself.` };
}

/** The first permission in which `wanted` exceeds `held`. */
function wider(held: Rights, wanted: Rights): keyof Rights | null {
  if (held.environment === 'test' && wanted.environment !== 'test') {
    return 'environment';
  }
  if (held.expires_at !== null && (wanted.expires_at === null || wanted.expires_at > held.expires_at)) {
    return 'expires_at';
  }
  if (!within(held.ip_allow, wanted.ip_allow, rangeWithin)) {
    return 'ip_allow';
  }
  if (!within(held.endpoints, wanted.endpoints, isSame)) {
    return 'endpoints';
  }
  if (!within(held.templates, wanted.templates, isSame)) {
    return 'templates';
  }
  const denied = wanted.nodes?.deny ?? [];
  const deniesLess = (held.nodes?.deny ?? []).some((name) => !denied.some((outer) => coversPattern(outer, name)));
  return deniesLess || !within(held.nodes?.allow ?? null, wanted.nodes?.allow ?? null, coversPattern) ? 'nodes' : null;
}

/** Whether `outer` allows everything that `inner` allows; null allows everything. */
function within(
  outer: readonly string[] | null,
  inner: readonly string[] | null,
  covers: (outer: string, inner: string) => boolean,
): boolean {
  return outer === null || (inner !== null && inner.every((each) => outer.some((other) => covers(other, each))));
}

const isSame = (outer: string, inner: string): boolean => outer === inner;

const rangeWithin = (outer: string, inner: string): boolean => {
  const [whole, part] = [parseRange(outer), parseRange(inner)];
  return whole !== null && part !== null && contains(whole, part);
};
