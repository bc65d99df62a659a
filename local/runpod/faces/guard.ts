import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context, MiddlewareHandler } from 'hono';
import type { Clock } from '../clock.ts';
import type { FaultBook } from '../core/faults.ts';
import { RateLimiter } from '../core/rate-limit.ts';
import type { EventLog } from '../events.ts';
import { RATE_LIMITS, RATE_WINDOW_MS } from '../limits.ts';
import type { Endpoint } from '../platform/endpoint.ts';
import type { Webhooks } from '../platform/webhooks.ts';

/** The state that all APIs share. */
export interface Platform {
  clock: Clock;
  events: EventLog;
  faults: FaultBook;
  webhooks: Webhooks;
  endpoints: ReadonlyMap<string, Endpoint>;
  /** Keys of clients; null accepts any non-empty key. */
  clientKeys: ReadonlySet<string> | null;
  /** The key of workers; null accepts any non-empty key. */
  workerKey: string | null;
  /** Calls per endpoint and operation since the start, as `<endpoint> <operation>`. */
  calls: Map<string, number>;
  newId: () => string;
}

export type FaceEnv = { Bindings: HttpBindings; Variables: { endpoint: Endpoint } };

/** The key of a request: `Authorization: Bearer <key>` or, as in RunPod's docs and SDK, the bare key. */
function keyOf(c: Context<FaceEnv>): string {
  return (c.req.header('authorization') ?? '').replace(/^Bearer\s+/i, '').trim();
}

/**
 * Middleware of every operation: key (401), endpoint (404), faults, rate limits (429). The handler finds the endpoint in
 * `c.var.endpoint`.
 */
export function guard(platform: Platform, accepts: (key: string) => boolean) {
  const limiter = new RateLimiter(RATE_WINDOW_MS);
  return (operation: string): MiddlewareHandler<FaceEnv> =>
    async (c, next) => {
      const key = keyOf(c);
      if (key === '' || !accepts(key)) {
        return c.json({ error: 'unauthorized: missing or unknown API key' }, 401);
      }
      const endpoint = platform.endpoints.get(c.req.param('endpoint') ?? '');
      if (endpoint === undefined) {
        return c.json({ error: 'endpoint not found' }, 404);
      }
      const call = `${endpoint.id} ${operation}`;
      platform.calls.set(call, (platform.calls.get(call) ?? 0) + 1);
      c.set('endpoint', endpoint);

      const job = c.req.param('job') ?? null;
      const fault = platform.faults.forCall(operation, { endpoint: endpoint.id, job });
      if (fault !== null) {
        platform.events.append(endpoint.id, { type: 'fault_used', fault: fault.id, operation });
      }
      if (fault?.kind === 'answer') {
        return new Response(JSON.stringify({ error: 'fault on demand' }), {
          status: fault.status,
          headers: { 'content-type': 'application/json' },
        });
      }
      if (fault?.kind === 'drop' && fault.when === 'before') {
        return cut(c);
      }

      const rule = RATE_LIMITS[operation];
      const admission = rule === undefined ? null : limiter.admit(`${key} ${call}`, rule, platform.clock.now());
      if (admission?.ok === false) {
        return c.json({ error: `too many requests (${admission.reason})` }, 429);
      }
      try {
        await next();
        if (fault?.kind === 'hang') {
          await platform.events.until(() => false, fault.hang_ms, c.req.raw.signal);
        }
      } finally {
        if (admission?.ok === true) {
          admission.release();
        }
      }
      if (fault?.kind === 'drop') {
        c.res = cut(c);
      }
      return undefined;
    };
}

/** Cuts the connection without a response. */
function cut(c: Context<FaceEnv>): Response {
  c.env.outgoing.destroy();
  return RESPONSE_ALREADY_SENT;
}

/** Reads a body of up to `limit` bytes as text. A larger one is read to its end and rejected. */
export async function readBody(request: Request, limit: number): Promise<{ ok: true; text: string } | { ok: false }> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request.body ?? []) {
    size += part.byteLength;
    if (size <= limit) {
      parts.push(part);
    }
  }
  return size > limit ? { ok: false } : { ok: true, text: Buffer.concat(parts).toString('utf8') };
}

/** Parses JSON; invalid JSON is a value, not an exception. */
export function parseJson(text: string): { ok: true; value: unknown } | { ok: false } {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    return { ok: false };
  }
}
