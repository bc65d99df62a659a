import type { Config } from '../../config/schema.ts';
import type { AcquireResult, BreakerCause, BreakerMode, CallOutcome } from '../../contract/endpoint.ts';
import type { JobError } from '../../contract/job.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import type { Env } from '../../env.ts';
import type { RunAnswer } from '../../providers/gpu/provider.ts';
import { consoleLog } from '../../providers/log.ts';
import { forgetClosed, passesUnasked, rememberClosed, takeUnreported } from './closed-endpoints.ts';
import { errorMessage } from '../../lib/error-message.ts';

/** Where a run goes now: to an endpoint, nowhere yet, or nowhere at all because none of its endpoints is configured any more. */
export type Route =
  | { kind: 'go'; endpoint: string; report: 'all' | 'trouble' }
  | { kind: 'wait'; wait_ms: number; why: Pick<JobError, 'code' | 'message'> }
  | { kind: 'nowhere' };

/**
 * A job asks its own endpoint first, then those that may stand in for it, until one lets it through. It asks nobody where this
 * isolate has just heard that the endpoint takes runs, unless it was told to wait before: the endpoint counts it as waiting.
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
    ? { kind: 'nowhere' }
    : // The reason that is told is that of the job's own endpoint.
      { kind: 'wait', wait_ms: Math.min(...held.map(({ wait_ms }) => wait_ms)), why: WHY[first.cause] };
}

/** Takes a job out of the lines of those that let it wait. Behind its back: a line that was not told forgets it by itself. */
function cancelWaits(env: Env, endpoints: readonly string[], job: string): void {
  for (const endpoint of endpoints) {
    void env.ENDPOINT.getByName(endpoint)
      .cancelWait(job)
      .catch(() => {});
  }
}

/** An Endpoint object that cannot be reached holds up no job: it only ever keeps calls from failing. */
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

/** Tells an endpoint what became of a call of `/run` that it let through. Answers whether runs are sent there on. */
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
      // Refused for what it is, a run says that the endpoint works.
      return answer.again ? 'failed' : answer.about === 'endpoint' ? 'refused' : 'ok';
  }
}

/**
 * What a run waits for that is queued at this endpoint; null when that cannot be said. `elsewhere`: another endpoint would take it.
 * Also asked when RunPod did not answer about the run: whether the endpoint is at fault is the Endpoint object's to find out.
 */
export async function capacityOf(
  env: Env,
  state: JobState,
  endpoint: string,
): Promise<{ stage: 'capacity' | 'cold_start'; none: boolean; elsewhere: boolean } | null> {
  try {
    const line = await env.ENDPOINT.getByName(endpoint).capacity();
    const others = line.none ? endpointsOf(state).filter((other) => other !== endpoint) : [];
    const verdicts = await Promise.all(others.map((other) => env.ENDPOINT.getByName(other).breakerState()));
    return { ...line, elsewhere: verdicts.some(({ mode }) => mode === 'closed') };
  } catch {
    return null;
  }
}

const endpointsOf = (state: JobState): string[] => [state.endpoint, ...state.fallbacks.map(({ endpoint }) => endpoint)];

const WHY: Record<BreakerCause, Pick<JobError, 'code' | 'message'>> = {
  failing: { code: 'no_capacity', message: 'RunPod takes no runs for this endpoint.' },
  refused: { code: 'provider_refused', message: 'RunPod refuses every run of this endpoint.' },
  no_workers: { code: 'no_capacity', message: 'The endpoint has no workers.' },
};
