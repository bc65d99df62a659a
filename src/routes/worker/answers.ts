import type { Context } from 'hono';
import { WORKER_ERRORS } from '../../contract/errors.ts';
import type { WorkerRefusal } from '../../services/worker/access.ts';
import type { ClaimAnswer } from '../../services/worker/claim.ts';

/** Refusals that only this protocol has. `wait_s`: the address sent too many requests without a valid token. */
type RouteRefusal = { code: 'invalid_request'; detail: string } | { code: 'rate_limited'; wait_s: number };

/** A refusal as a problem of the worker contract: workers read `code`, people read the rest. */
export function refuse(c: Context, refusal: WorkerRefusal | RouteRefusal): Response {
  const { status, title } = WORKER_ERRORS[refusal.code];
  return c.json({ title, status, ...refusal }, status, {
    'content-type': 'application/problem+json',
    ...(refusal.code === 'rate_limited' ? { 'retry-after': String(refusal.wait_s) } : {}),
  });
}

/** A granted claim. The graph goes out as the text it was stored as: parsing it here would round 64-bit seeds. */
export function granted(c: Context, { workflow, ...rest }: ClaimAnswer): Response {
  const body = `{"workflow":${workflow},${JSON.stringify(rest).slice(1)}`;
  return c.body(body, 200, { 'content-type': 'application/json' });
}
