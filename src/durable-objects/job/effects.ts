import { notifyWebhooks } from '../shared/notify.ts';
import type { Config } from '../../config/schema.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { BreakerMode } from '../../contract/endpoint.ts';
import type { Effect, Signal } from '../../domain/job/signals.ts';
import type { JobState } from '../../domain/job/state.ts';
import { chargeOf } from '../../domain/job/usage.ts';
import { admissionExpiresAt } from '../../domain/job/admission.ts';
import { jobEvent } from '../../domain/webhook/payload.ts';
import type { Env } from '../../env.ts';
import type { GpuProvider, RunAnswer, RunReport } from '../../providers/gpu/provider.ts';
import { consoleLog } from '../../providers/log.ts';
import { projectionOf } from '../../storage/d1/jobs.ts';
import { capacityOf, reportOutcome, routeOf } from './route.ts';
import { noticeOf, viewOf } from './view.ts';
import { errorMessage } from '../../lib/error-message.ts';

/** An effect outside the object. */
export type OutwardEffect = Exclude<Effect, { kind: 'stop_worker' }>;

/** How an effect ended: with a signal for the machine, without one, or with a failure to retry. */
export type EffectOutcome = { kind: 'signal'; signal: Signal } | { kind: 'done' } | { kind: 'retry' };

/** Wait before a run that its endpoint rejected is routed again. */
const REROUTE_MS = 1_000;

export type EffectContext = {
  env: Env;
  config: Config;
  gpu: GpuProvider;
  state: JobState;
  /** The graph and the input files of the job. */
  spec: () => { workflow: string; inputs: JobInput[] };
  now: number;
  /** Gives the machine a signal while the effect is in progress. */
  onSignal: (signal: Signal) => void;
  /** Whether the machine still needs the effect. */
  isRelevant: () => boolean;
};

/** Carries out one effect. Returns a value even when a call fails. */
export async function perform(effect: OutwardEffect, context: EffectContext): Promise<EffectOutcome> {
  try {
    return await carryOut(effect, context);
  } catch (error) {
    consoleLog({
      event: 'effect_failed',
      job: context.state.id,
      effect: effect.kind,
      detail: errorMessage(error),
    });
    return { kind: 'retry' };
  }
}

async function carryOut(effect: OutwardEffect, context: EffectContext): Promise<EffectOutcome> {
  const { env, gpu, state } = context;
  const runpodId = runpodIdOf(effect, context);
  switch (effect.kind) {
    case 'send':
      return await send(effect.attempt, context);
    case 'check':
      return signal(await check(effect, runpodId, context));
    case 'fetch_result':
      return runpodId === undefined ? { kind: 'retry' } : fetchResult(effect, runpodId, context);
    case 'cancel_run':
      return {
        kind: runpodId === undefined ? 'done' : await gpu.cancel({ endpoint: runpodId, run_id: effect.run_id }),
      };
    case 'project':
      await env.DB.batch(projected(env.DB, state));
      return { kind: 'done' };
    case 'ask_admission': {
      const has_slot = await env.ACCOUNT.getByName(state.account).tryStart(
        state.id,
        admissionExpiresAt(state.deadline, context.config.policy),
      );
      return signal({ kind: 'admission_answered', has_slot });
    }
    case 'release':
      await env.ACCOUNT.getByName(state.account).releaseSlot(state.id, chargeOf(state) ?? { gpu_ms: 0, micro_usd: 0 });
      return { kind: 'done' };
    case 'notify': {
      const event = jobEvent(noticeOf(state, effect), effect.sequence, effect.at, context.config.publicUrl);
      await notifyWebhooks(env, state.account, event, { before: projected(env.DB, state) });
      return { kind: 'done' };
    }
  }
}

/** The D1 statements that write the job's current state, and its usage once it has finished. */
function projected(db: D1Database, state: JobState): D1PreparedStatement[] {
  const used = chargeOf(state);
  return projectionOf(
    db,
    viewOf(state),
    used === null || state.completed_at === null ? null : { ...state, ...used, completed_at: state.completed_at },
    state.submit_ms,
  );
}

/** Polls RunPod for a run. For a run that has not started, also asks its endpoint what it waits for. */
async function check(
  { attempt, run_id }: Extract<Effect, { kind: 'check' }>,
  runpodId: string | undefined,
  { env, gpu, state }: EffectContext,
): Promise<Signal> {
  const said: RunReport =
    runpodId === undefined ? { status: 'unreachable' } : await gpu.status({ endpoint: runpodId, run_id });
  const asks = said.status === 'queued' || said.status === 'unreachable';
  const waits_for = asks ? await capacityOf(env, state, state.attempts[attempt - 1]?.endpoint ?? state.endpoint) : null;
  return { kind: 'run_status', attempt, ...said, waits_for };
}

async function fetchResult(
  { attempt, run_id }: Extract<Effect, { kind: 'fetch_result' }>,
  endpoint: string,
  { env, gpu, state, isRelevant }: EffectContext,
): Promise<EffectOutcome> {
  const moved = await gpu.result({ endpoint, run_id, account: state.account, job: state.id, attempt });
  switch (moved.kind) {
    case 'result':
      if (!isRelevant()) {
        // The job finished meanwhile and may be erased, so nothing else would delete these files.
        await env.BUCKET.delete(moved.result.outputs.flatMap(({ key }) => key ?? []));
        return { kind: 'done' };
      }
      return signal({ kind: 'run_result', attempt, result: moved.result });
    case 'missing':
      return signal({ kind: 'run_status', attempt, status: 'missing' });
    case 'not_finished':
      return signal({ kind: 'run_status', attempt, status: 'running' });
    case 'retry':
      return { kind: 'retry' };
  }
}

/** RunPod's id of the endpoint of the effect's attempt. */
function runpodIdOf(effect: OutwardEffect, { config, state }: EffectContext): string | undefined {
  const attempt = 'attempt' in effect ? state.attempts[effect.attempt - 1] : undefined;
  return attempt === undefined ? undefined : config.endpoints[attempt.endpoint]?.runpod_id;
}

/** Calls `/run` of the endpoint that accepts the run now. The endpoint is stored before the call. */
async function send(attempt: number, context: EffectContext): Promise<EffectOutcome> {
  const { env, config, gpu, state, now, spec, onSignal, isRelevant } = context;
  const route = await routeOf(env, config, state, now);
  if (!isRelevant()) {
    return { kind: 'done' };
  }
  const refusal = { kind: 'run_refused', attempt, retryable: false, retry_after_ms: null } as const;
  if (route.kind === 'unconfigured') {
    return signal({ ...refusal, code: 'provider_refused', message: 'The endpoint is no longer configured.' });
  }
  if (route.kind === 'wait') {
    return signal({ kind: 'run_held', attempt, wait_ms: route.wait_ms, ...route.why });
  }
  const answer = await gpu.submit({
    endpoint: config.endpoints[route.endpoint]?.runpod_id ?? '',
    account: state.account,
    job: state.id,
    attempt,
    deadline: state.deadline,
    now,
    spec,
    confirm: () => {
      if (!isRelevant()) {
        return false;
      }
      onSignal({ kind: 'routed', attempt, endpoint: route.endpoint });
      return true;
    },
  });
  if (answer.kind === 'withdrawn') {
    return { kind: 'done' };
  }
  if (answer.kind === 'input_missing') {
    const message = 'An input of the job is no longer there.';
    return signal({ ...refusal, code: 'input_fetch_failed', at: 'request', message });
  }
  if (answer.kind === 'accepted' && route.report === 'all') {
    // Stores the run's id first, because the report to the endpoint may fail or take long.
    onSignal(signalOf(attempt, answer, 'closed'));
    await reportOutcome(env, state.id, route, answer);
    return { kind: 'done' };
  }
  return signal(signalOf(attempt, answer, await reportOutcome(env, state.id, route, answer)));
}

const signal = (what: Signal): EffectOutcome => ({ kind: 'signal', signal: what });

function signalOf(attempt: number, answer: RunAnswer, mode: BreakerMode): Signal {
  switch (answer.kind) {
    case 'accepted':
      return { kind: 'run_accepted', attempt, run_id: answer.run_id };
    case 'refused': {
      const { about, retryable, code, message, retry_after_ms } = answer;
      return about === 'endpoint' || (retryable && mode !== 'closed')
        ? // The endpoint is at fault, so its circuit breaker decides how long to wait, or a fallback accepts the run.
          { kind: 'run_held', attempt, wait_ms: REROUTE_MS, code, message }
        : { kind: 'run_refused', attempt, retryable, code, message, retry_after_ms };
    }
    case 'unknown':
      return { kind: 'run_unknown', attempt };
  }
}
