import type { Verdict } from '../../contract/endpoint.ts';
import { endpointStub } from '../../durable-objects/shared/stubs.ts';
import { later } from '../../providers/background.ts';
import type { Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';

/** How long an isolate goes by what it was told; that an endpoint has just opened it notices this much later. */
const FRESH_MS = 3_000;
/** What is older says nothing any more: the isolate has had no submits for a while. */
const STALE_MS = 30_000;
/** Longest a client is told to stay away: an endpoint may be well again before its pause is over. */
const RETRY_MAX_S = 60;

const readings = new Map<string, { verdict: Verdict; at: number }>();
const underWay = new Set<string>();

/**
 * Refuses a submit while its endpoint, and every one that may stand in for it, is sent nothing and has a line of `max_waiting`
 * jobs; null otherwise. Decided by what this isolate was told last, and asked anew behind the answer: a submit never waits for an
 * Endpoint object. An isolate that was told nothing yet takes the job, which then waits.
 */
export function shed(core: Core, endpoint: string, fallbacks: readonly string[]): CoreProblem | null {
  const now = core.clock();
  const waits = [endpoint, ...fallbacks].map((name) => shutFor(core, name, now));
  const shut = waits.filter((ms) => ms !== null);
  if (shut.length < waits.length || lineOf(endpoint) < (core.config.endpoints[endpoint]?.breaker.max_waiting ?? 0)) {
    return null;
  }
  return {
    code: 'endpoint_unavailable',
    detail: 'the endpoint takes no jobs for now, and as many as may wait for it do',
    retryAfterS: Math.min(RETRY_MAX_S, Math.max(1, Math.ceil(Math.min(...shut) / 1000))),
    shouldRetry: true,
  };
}

/** For how many ms an endpoint is still sent nothing, as far as this isolate knows; null: it may take a job. */
function shutFor(core: Core, name: string, now: number): number | null {
  const reading = readings.get(name);
  if ((reading === undefined || now - reading.at >= FRESH_MS) && !underWay.has(name)) {
    underWay.add(name);
    later(
      endpointStub(core.env, name)
        .verdict()
        .then((verdict) => readings.set(name, { verdict, at: core.clock() }))
        .finally(() => underWay.delete(name)),
    );
  }
  if (reading === undefined || now - reading.at >= STALE_MS) {
    return null;
  }
  const { retry_at } = reading.verdict;
  return retry_at !== null && now < retry_at ? retry_at - now : null;
}

const lineOf = (name: string): number => readings.get(name)?.verdict.waiting ?? 0;
