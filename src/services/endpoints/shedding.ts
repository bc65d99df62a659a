import type { BreakerState } from '../../contract/endpoint.ts';
import { runInBackground } from '../../providers/background.ts';
import { IsolateCache } from '../../lib/isolate-cache.ts';
import type { ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';

/**
 * How long an isolate uses a cached breaker state. It notices that an endpoint has reopened at most this much later.
 */
const FRESH_MS = 3_000;
/** An older state is ignored: the isolate has had no submits for a while. */
const STALE_MS = 30_000;
/** The longest Retry-After, because an endpoint may recover before its pause ends. */
const RETRY_MAX_S = 60;

const breakerStates = new IsolateCache<string, BreakerState>({ maxEntries: 1000, ttlMs: STALE_MS });
const refreshing = new Set<string>();

/**
 * Rejects a submit while its endpoint and all its fallbacks have an open circuit breaker and a backlog of `max_backlog`
 * jobs; null otherwise. Uses the state that this isolate has cached, and refreshes it in the background: a submit never
 * waits for an Endpoint object. An isolate without a cached state accepts the job, which then waits.
 */
export function overloadProblem(
  context: ServiceContext,
  endpoint: string,
  fallbacks: readonly string[],
): Problem | null {
  const now = context.clock();
  const waits = [endpoint, ...fallbacks].map((name) => pausedFor(context, name, now));
  const paused = waits.filter((ms) => ms !== null);
  if (
    paused.length < waits.length ||
    backlogOf(endpoint, now) < (context.config.endpoints[endpoint]?.breaker.max_backlog ?? 0)
  ) {
    return null;
  }
  return {
    code: 'endpoint_unavailable',
    detail: 'The endpoint is unavailable and its queue is full.',
    retryAfterS: Math.min(RETRY_MAX_S, Math.max(1, Math.ceil(Math.min(...paused) / 1000))),
  };
}

/** The ms until an endpoint may accept jobs again, as far as this isolate knows; null when it accepts them now. */
function pausedFor(context: ServiceContext, name: string, now: number): number | null {
  if (breakerStates.get(name, now, FRESH_MS) === undefined && !refreshing.has(name)) {
    refreshing.add(name);
    runInBackground(
      context.env.ENDPOINT.getByName(name)
        .breakerState()
        .then((verdict) => breakerStates.set(name, verdict, context.clock()))
        .finally(() => refreshing.delete(name)),
    );
  }
  const retry_at = breakerStates.get(name, now)?.retry_at ?? null;
  return retry_at !== null && now < retry_at ? retry_at - now : null;
}

const backlogOf = (name: string, now: number): number => breakerStates.get(name, now)?.waiting ?? 0;
