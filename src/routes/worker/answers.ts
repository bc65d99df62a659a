import type { Context } from 'hono';
import type { WorkerRefusal } from '../../services/worker/access.ts';
import type { ClaimAnswer } from '../../services/worker/claim.ts';

const STATUS = {
  invalid_token: 401,
  job_not_found: 404,
  claimed_elsewhere: 409,
  output_missing: 409,
  job_over: 410,
  output_too_large: 413,
  invalid_request: 422,
  rate_limited: 429,
} as const;

/** What only this door refuses. `wait_s`: too much without a token came from this address. */
type DoorRefusal = { code: 'invalid_request'; detail: string } | { code: 'rate_limited'; wait_s: number };

/** The contract's problem for a worker: it reads `code`, people read the rest. */
export function refuse(c: Context, refusal: WorkerRefusal | DoorRefusal): Response {
  const status = STATUS[refusal.code];
  return c.json({ title: refusal.code.replaceAll('_', ' '), status, ...refusal }, status, {
    'content-type': 'application/problem+json',
    ...(refusal.code === 'rate_limited' ? { 'retry-after': String(refusal.wait_s) } : {}),
  });
}

/** A granted claim. The graph goes out as the text it was stored as: parsing it here would round 64-bit seeds. */
export function granted(c: Context, { workflow, ...rest }: ClaimAnswer): Response {
  const body = `{"workflow":${workflow},${JSON.stringify(rest).slice(1)}`;
  return c.body(body, 200, { 'content-type': 'application/json' });
}
