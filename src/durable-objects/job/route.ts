import type { Config } from '../../config/schema.ts';
import type { AcquireResult, BreakerCause, BreakerMode, CallOutcome } from '../../contract/endpoint.ts';
import type { JobError } from '../../contract/job.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import type { Env } from '../../env.ts';
import type { RunAnswer } from '../../providers/gpu/provider.ts';
import { consoleLog } from '../../providers/log.ts';
import { forgetClosed, passesUnasked, rememberClosed, takeUnreported } from './closed-endpoints.ts';
import { errorMessage } from '../../lib/error-message.ts';

/**
 * Where to send a run: to an endpoint, to none yet, or to none at all because its endpoints are no longer configured.
 */
export type Route =
  | { kind: 'go'; endpoint: string; report: 'all' | 'trouble' }
  | { kind: 'wait'; wait_ms: number; why: Pick<JobError, 'code' | 'message'> }
  | { kind: 'unconfigured' };

/**
 * Asks the job's endpoint, then its fallbacks, until one accepts the run. Sends it without asking where this isolate
 * has just seen the circuit breaker closed, unless the job has waited before: the endpoint then counts it as waiting.
 */
export async function routeOf(env: Env, config: Config, state: JobState, now: number): Promise<Route> {
  const waited = (currentAttempt(state)?.held ?? null) !== null;
  const held: { endpoint: string; wait_ms: number; cause: BreakerCause }[] = [];
  for (const endpoint of endpointsOf(state)) {
    if (!Object.hasOwn(config.endpoints, endpoint)) {
      continue;
    }
    if (!waited && held.length === 0 && passesUnasked(endpoint, now)) {
      return { kind: 'go', endpoint, report: 'trouble' };
    }
    const answer = await acquire(env, endpoint, state.id, now);
    if (answer.kind === 'go') {
      cancelWaits(
        env,
        held.map((each) => each.endpoint),
        state.id,
      );
      return { kind: 'go', endpoint, report: answer.report };
    }
    held.push({ endpoint, wait_ms: answer.wait_ms, cause: answer.cause });
  }
  const [first] = held;
  return first === undefined
    ? { kind: 'unconfigured' }
    : // The client gets the reason of the job's own endpoint.
      { kind: 'wait', wait_ms: Math.min(...held.map(({ wait_ms }) => wait_ms)), why: WHY[first.cause] };
}

/**
 * Removes a job from the backlogs of these endpoints, in the background. A backlog also forgets a job that stops
 * asking.
 */
function cancelWaits(env: Env, endpoints: readonly string[], job: string): void {
  for (const endpoint of endpoints) {
    void env.ENDPOINT.getByName(endpoint)
      .cancelWait(job)
      .catch(() => {});
  }
}

/**
 * Asks an endpoint. When its object cannot be reached the run is sent, since the circuit breaker only avoids calls that
 * would fail.
 */
async function acquire(env: Env, endpoint: string, job: string, now: number): Promise<AcquireResult> {
  try {
    const answer = await env.ENDPOINT.getByName(endpoint).acquire(job, takeUnreported(endpoint));
    if (answer.kind === 'go' && answer.report === 'trouble') {
      rememberClosed(endpoint, now);
    }
    return answer;
  } catch (error) {
    consoleLog({
      event: 'endpoint_unreachable',
      job,
      endpoint,
      detail: errorMessage(error),
    });
    return { kind: 'go', report: 'trouble' };
  }
}

/** Reports the outcome of a `/run` call to its endpoint. Returns the state of the circuit breaker. */
export async function reportOutcome(
  env: Env,
  job: string,
  { endpoint, report }: Route & { kind: 'go' },
  answer: RunAnswer,
): Promise<BreakerMode> {
  const outcome = outcomeOf(answer);
  if (outcome === 'ok' && report === 'trouble') {
    return 'closed';
  }
  if (outcome !== 'ok') {
    forgetClosed(endpoint);
  }
  const retry_after_ms = answer.kind === 'refused' ? answer.retry_after_ms : null;
  return env.ENDPOINT.getByName(endpoint)
    .reportOutcome(job, outcome, retry_after_ms)
    .catch(() => 'closed' as const);
}

function outcomeOf(answer: RunAnswer): CallOutcome {
  switch (answer.kind) {
    case 'accepted':
      return 'ok';
    case 'unknown':
      return 'failed';
    case 'refused':
      // A run that is refused for its content shows that the endpoint works.
      return answer.retryable ? 'failed' : answer.about === 'endpoint' ? 'refused' : 'ok';
  }
}

/**
 * What a run that is queued at this endpoint waits for; null when that is unknown. `elsewhere`: a fallback would accept
 * the run. Also called when RunPod did not answer about the run, so that the Endpoint object finds out whether the
 * endpoint is at fault.
 */
export async function capacityOf(
  env: Env,
  state: JobState,
  endpoint: string,
): Promise<{ stage: 'capacity' | 'cold_start'; no_workers: boolean; elsewhere: boolean } | null> {
  try {
    const capacity = await env.ENDPOINT.getByName(endpoint).capacity();
    const others = capacity.no_workers ? endpointsOf(state).filter((other) => other !== endpoint) : [];
    const breakers = await Promise.all(others.map((other) => env.ENDPOINT.getByName(other).breakerState()));
    return { ...capacity, elsewhere: breakers.some(({ mode }) => mode === 'closed') };
  } catch {
    return null;
  }
}

const endpointsOf = (state: JobState): string[] => [state.endpoint, ...state.fallbacks.map(({ endpoint }) => endpoint)];

const WHY: Record<BreakerCause, Pick<JobError, 'code' | 'message'>> = {
  failing: { code: 'no_capacity', message: 'RunPod accepts no runs for this endpoint.' },
  refused: { code: 'provider_refused', message: 'RunPod refuses every run of this endpoint.' },
  no_workers: { code: 'no_capacity', message: 'The endpoint has no workers.' },
};
