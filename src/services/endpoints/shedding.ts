import type { Verdict } from '../../contract/endpoint.ts';
import { endpointStub } from '../../durable-objects/shared/stubs.ts';
import { later } from '../../providers/background.ts';
import type { Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';

/**
 * How long an isolate uses a cached breaker state. It notices that an endpoint has reopened at most this much later.
 */
const FRESH_MS = 3_000;
/** An older state is ignored: the isolate has had no submits for a while. */
const STALE_MS = 30_000;
/** The longest Retry-After, because an endpoint may recover before its pause ends. */
const RETRY_MAX_S = 60;

const breakerStates = new Map<string, { verdict: Verdict; at: number }>();
const refreshing = new Set<string>();

/**
 * Rejects a submit while its endpoint and all its fallbacks have an open circuit breaker and a backlog of `max_waiting`
 * jobs; null otherwise. Uses the state that this isolate has cached, and refreshes it in the background: a submit never
 * waits for an Endpoint object. An isolate without a cached state accepts the job, which then waits.
 */
export function overloadProblem(core: Core, endpoint: string, fallbacks: readonly string[]): CoreProblem | null {
  const now = core.clock();
  const waits = [endpoint, ...fallbacks].map((name) => pausedFor(core, name, now));
  const paused = waits.filter((ms) => ms !== null);
  if (
    paused.length < waits.length ||
    backlogOf(endpoint) < (core.config.endpoints[endpoint]?.breaker.max_waiting ?? 0)
  ) {
    return null;
  }
  return {
    code: 'endpoint_unavailable',
    detail: 'the endpoint takes no jobs for now, and as many as may wait for it do',
    retryAfterS: Math.min(RETRY_MAX_S, Math.max(1, Math.ceil(Math.min(...paused) / 1000))),
    shouldRetry: true,
  };
}

/** The ms until an endpoint may accept jobs again, as far as this isolate knows; null when it accepts them now. */
function pausedFor(core: Core, name: string, now: number): number | null {
  const reading = breakerStates.get(name);
  if ((reading === undefined || now - reading.at >= FRESH_MS) && !refreshing.has(name)) {
    refreshing.add(name);
    later(
      endpointStub(core.env, name)
        .verdict()
        .then((verdict) => breakerStates.set(name, { verdict, at: core.clock() }))
        .finally(() => refreshing.delete(name)),
    );
  }
  if (reading === undefined || now - reading.at >= STALE_MS) {
    return null;
  }
  const { retry_at } = reading.verdict;
  return retry_at !== null && now < retry_at ? retry_at - now : null;
}

const backlogOf = (name: string): number => breakerStates.get(name)?.verdict.waiting ?? 0;
