import type { Scope } from '../../domain/key/scopes.ts';

/**
 * What a route asks of whoever calls it. `operator`: ADMIN_TOKEN is taken too. `readToken`: so is a token for the job in the path, in
 * the header, or also as `?token=` where a browser cannot set headers (EventSource, `<img>`).
 */
export type RouteAccess =
  | { scope: Scope; operator?: true; readToken?: 'header' | 'query'; deprecated?: Deprecated }
  /** Checked by the route itself. */
  | 'open';

/**
 * A route that is on its way out (docs/reference/api.md, Versions): dates as ISO 8601, the first of a day in UTC; `sunset` null while no end is
 * decided; `successor` a path of v1 or null. Callers are told by headers and by the OpenAPI document.
 */
export type Deprecated = { since: string; sunset: string | null; successor: string | null };

/** Where the router has this door; the table has paths without it. */
const MOUNTED_AT = '/v1';

/** What the table calls a route of the router's. */
export const routeName = ({ method, path }: { method: string; path: string }): string =>
  `${method} ${path.startsWith(`${MOUNTED_AT}/`) ? path.slice(MOUNTED_AT.length) : path}`;

const keys = (scope: 'keys:read' | 'keys:write'): RouteAccess => ({ scope, operator: true });

/** Every route of v1, as it is mounted. A route that is not here answers nobody; a test names it. */
export const ROUTE_ACCESS: Readonly<Record<string, RouteAccess>> = {
  'POST /jobs': { scope: 'jobs:write' },
  'POST /jobs/batch': { scope: 'jobs:write' },
  'POST /jobs/dry-run': { scope: 'jobs:write' },
  'GET /jobs': { scope: 'jobs:read' },
  'GET /jobs/:id': { scope: 'jobs:read', readToken: 'header' },
  'GET /jobs/:id/result': { scope: 'jobs:read', readToken: 'header' },
  'GET /jobs/:id/events': { scope: 'jobs:read', readToken: 'query' },
  'GET /jobs/:id/outputs/:name{[^]+}': { scope: 'jobs:read', readToken: 'query' },
  'POST /jobs/:id/tokens': { scope: 'jobs:read' },
  'POST /jobs/:id/cancel': { scope: 'jobs:write' },
  'DELETE /jobs/:id': { scope: 'jobs:write' },

  'POST /assets': { scope: 'assets:write' },
  'GET /assets': { scope: 'assets:read' },
  'GET /assets/:id': { scope: 'assets:read' },
  'DELETE /assets/:id': { scope: 'assets:write' },
  'POST /uploads': { scope: 'assets:write' },
  'GET /uploads/:id': { scope: 'assets:write' },
  'DELETE /uploads/:id': { scope: 'assets:write' },
  'POST /uploads/:id/complete': { scope: 'assets:write' },

  'POST /webhooks': { scope: 'webhooks:write' },
  'GET /webhooks': { scope: 'webhooks:read' },
  'GET /webhooks/:id': { scope: 'webhooks:read' },
  'PATCH /webhooks/:id': { scope: 'webhooks:write' },
  'DELETE /webhooks/:id': { scope: 'webhooks:write' },
  'POST /webhooks/:id/rotate': { scope: 'webhooks:write' },
  'POST /webhooks/:id/ping': { scope: 'webhooks:write' },
  'GET /webhooks/:id/deliveries': { scope: 'webhooks:read' },
  'GET /webhooks/:id/deliveries/:delivery': { scope: 'webhooks:read' },
  'POST /webhooks/:id/deliveries/:delivery/redeliver': { scope: 'webhooks:write' },
  'POST /webhooks/:id/redeliver': { scope: 'webhooks:write' },

  'POST /keys': keys('keys:write'),
  'GET /keys': keys('keys:read'),
  'GET /keys/:id': keys('keys:read'),
  'PATCH /keys/:id': keys('keys:write'),
  'DELETE /keys/:id': keys('keys:write'),
  'POST /keys/:id/rotate': keys('keys:write'),
  'POST /keys/revoke': 'open',

  'GET /accounts/:account/limits': { scope: 'usage:read', operator: true },
  'PUT /accounts/:account/limits': { scope: 'admin', operator: true },
  'GET /usage': { scope: 'usage:read' },

  'GET /endpoints': { scope: 'jobs:read' },
  'GET /endpoints/:name': { scope: 'jobs:read' },
  'GET /endpoints/:name/debug': { scope: 'admin', operator: true },

  'GET /metrics': { scope: 'admin', operator: true },

  'GET /audit': { scope: 'admin', operator: true },
};
