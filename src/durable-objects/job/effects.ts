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

/** An effect that leaves the object. */
export type OutwardEffect = Exclude<Effect, { kind: 'stop_worker' }>;

/** What doing an effect came to: a signal for the machine, nothing more to say, or: try again later. */
export type EffectOutcome = { kind: 'signal'; signal: Signal } | { kind: 'done' } | { kind: 'again' };

/** How soon a run that its endpoint did not take looks for another one. */
const REROUTE_MS = 1_000;

export type EffectContext = {
  env: Env;
  config: Config;
  gpu: GpuProvider;
  state: JobState;
  /** The graph and the files that the job runs with. */
  spec: () => { workflow: string; inputs: JobInput[] };
  now: number;
  /** Gives the machine a signal while the effect goes on. */
  onSignal: (signal: Signal) => void;
  /** Whether the effect is still wanted. */
  isRelevant: () => boolean;
};

/** Does one effect. Answers with a value whatever the network does. */
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
    return { kind: 'again' };
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
      return runpodId === undefined ? { kind: 'again' } : fetchResult(effect, runpodId, context);
    case 'cancel_run':
      return {
        kind: runpodId === undefined ? 'done' : await gpu.cancel({ endpoint: runpodId, run_id: effect.run_id }),
      };
    case 'project':
      await env.DB.batch(projected(env.DB, state));
      return { kind: 'done' };
    case 'ask_admission': {
      const mine = await env.ACCOUNT.getByName(state.account).tryStart(
        state.id,
        admissionExpiresAt(state.deadline, context.config.policy),
      );
      return signal({ kind: 'asked', mine });
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

/** Writes the job into the lists as it is now, and once it is over what it used. */
function projected(db: D1Database, state: JobState): D1PreparedStatement[] {
  const used = chargeOf(state);
  return projectionOf(
    db,
    viewOf(state),
    used === null || state.completed_at === null ? null : { ...state, ...used, completed_at: state.completed_at },
    state.submit_ms,
  );
}

/** Asks RunPod about a run, and its endpoint what a run waits for that has not begun. */
async function check(
  { attempt, run_id }: Extract<Effect, { kind: 'check' }>,
  runpodId: string | undefined,
  { env, gpu, state }: EffectContext,
): Promise<Signal> {
  const said: RunReport =
    runpodId === undefined ? { status: 'unreachable' } : await gpu.status({ endpoint: runpodId, run_id });
  const asks = said.status === 'queued' || said.status === 'unreachable';
  const line = asks ? await capacityOf(env, state, state.attempts[attempt - 1]?.endpoint ?? state.endpoint) : null;
  return { kind: 'run_status', attempt, ...said, line };
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
        // The job ended meanwhile, and may have been erased: nobody else would ever delete these.
        await env.BUCKET.delete(moved.result.outputs.flatMap(({ key }) => key ?? []));
        return { kind: 'done' };
      }
      return signal({ kind: 'run_result', attempt, result: moved.result });
    case 'missing':
      return signal({ kind: 'run_status', attempt, status: 'missing' });
    case 'not_over':
      return signal({ kind: 'run_status', attempt, status: 'running' });
    case 'again':
      return { kind: 'again' };
  }
}

/** RunPod's id of the endpoint that an effect is for: that of the effect's own attempt. */
function runpodIdOf(effect: OutwardEffect, { config, state }: EffectContext): string | undefined {
  const attempt = 'attempt' in effect ? state.attempts[effect.attempt - 1] : undefined;
  return attempt === undefined ? undefined : config.endpoints[attempt.endpoint]?.runpod_id;
}

/** Calls `/run` where the run may go now. The place is settled and stored before the call. */
async function send(attempt: number, context: EffectContext): Promise<EffectOutcome> {
  const { env, config, gpu, state, now, spec, onSignal, isRelevant } = context;
  const route = await routeOf(env, config, state, now);
  if (!isRelevant()) {
    return { kind: 'done' };
  }
  const refusal = { kind: 'run_refused', attempt, again: false, retry_after_ms: null } as const;
  if (route.kind === 'nowhere') {
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
    // First of all the run's id is stored: what the endpoint is told must not stand between.
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
      const { about, again, code, message, retry_after_ms } = answer;
      return about === 'endpoint' || (again && mode !== 'closed')
        ? // Not this run's fault, nor for it to sit out: the endpoint says until when to wait, or another one takes the run.
          { kind: 'run_held', attempt, wait_ms: REROUTE_MS, code, message }
        : { kind: 'run_refused', attempt, again, code, message, retry_after_ms };
    }
    case 'unknown':
      return { kind: 'run_unknown', attempt };
  }
}
