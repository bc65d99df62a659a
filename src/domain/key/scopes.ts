/** What a key may do. A route needs one scope; a key has scopes, or wildcards for all scopes of one kind. */

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

/** What can be written into a key: a scope, or a wildcard. `admin` is every scope within the key's own account. */
export const GRANTS = [...SCOPES, 'jobs:*', 'assets:*', 'templates:*', 'webhooks:*', 'keys:*', 'usage:*'] as const;

/** Every scope but `admin`. The default of the column in migrations/0003 says the same. */
export const DEFAULT_GRANTS: readonly string[] = [
  'jobs:*',
  'assets:*',
  'templates:*',
  'webhooks:*',
  'keys:*',
  'usage:read',
];

/** Whether these grants include the scope, or all that a wildcard stands for. */
export function grants(held: readonly string[], wanted: string): boolean {
  const [kind = ''] = wanted.split(':');
  return held.includes('admin') || held.includes(wanted) || (wanted !== 'admin' && held.includes(`${kind}:*`));
}
