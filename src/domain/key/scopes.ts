/** The scopes of keys. A route requires one scope. A key has scopes, or wildcards for all scopes of one resource. */

export const SCOPES = [
  'jobs:read',
  'jobs:write',
  'assets:read',
  'assets:write',
  'templates:read',
  'templates:write',
  'webhooks:read',
  'webhooks:write',
  'keys:read',
  'keys:write',
  'usage:read',
  'admin',
] as const;
export type Scope = (typeof SCOPES)[number];

/** The values that a key may have: scopes and wildcards. `admin` grants every scope within the key's account. */
export const GRANTS = [...SCOPES, 'jobs:*', 'assets:*', 'templates:*', 'webhooks:*', 'keys:*', 'usage:*'] as const;

/** All scopes except `admin`. The column in migrations/ has the same default. */
export const DEFAULT_GRANTS: readonly string[] = [
  'jobs:*',
  'assets:*',
  'templates:*',
  'webhooks:*',
  'keys:*',
  'usage:read',
];

/** Whether these grants include the scope, directly or by a wildcard. */
export function grants(held: readonly string[], wanted: string): boolean {
  const [kind = ''] = wanted.split(':');
  return held.includes('admin') || held.includes(wanted) || (wanted !== 'admin' && held.includes(`${kind}:*`));
}
