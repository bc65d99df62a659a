import { notify } from '../notify.ts';
import { accountStub } from '../stubs.ts';
import type { Config } from '../../config.ts';
import type { Effect, Signal } from '../../core/job/signals.ts';
import type { JobState } from '../../core/job/state.ts';
import { usedBy } from '../../core/job/usage.ts';
import { lapsesAt } from '../../core/job/admission.ts';
import { RUN_GRACE_MS } from '../../core/job/wanted.ts';
import { jobEvent } from '../../core/webhook/payload.ts';
import type { Env } from '../../env.ts';
import type { GpuProvider, RunAnswer } from '../../providers/gpu/provider.ts';
import { consoleLog } from '../../providers/log.ts';
import { signToken } from '../../providers/tokens.ts';
import { projectJob } from '../../storage/d1/jobs.ts';
import { lineOf, reportRun, routeOf } from './route.ts';
import { noticeOf, viewOf } from './view.ts';

/** An effect that leaves the object. */
export type OutwardEffect = Exclude<Effect, { kind: 'stop_worker' }>;

/** What doing an effect came to: a signal for the machine, nothing more to say, or: try again later. */
export type EffectOutcome = { kind: 'signal'; signal: Signal } | { kind: 'done' } | { kind: 'again' };

/** How long a worker's token outlives the deadline: the worker may repeat its report for 120 s after it. */
const TOKEN_GRACE_MS = 180_000;

/** How soon a run that its endpoint did not take looks for another one. */
const REROUTE_MS = 1_000;

export type EffectContext = {
  env: Env;
  config: Config;
  gpu: GpuProvider;
  state: JobState;
  now: number;
  /** Gives the machine a signal while the effect goes on. */
  tell: (signal: Signal) => void;
  /** Whether the effect is still wanted. */
  wanted: () => boolean;
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
      detail: error instanceof Error ? error.message : 'unknown',
    });
    return { kind: 'again' };
  }
}

async function carryOut(effect: OutwardEffect, context: EffectContext): Promise<EffectOutcome> {
  const { env, gpu, state } = context;
  const runpodId = runpodIdOf(effect, context);
  const used = usedBy(state);
  switch (effect.kind) {
    case 'send':
      return await send(effect.attempt, context);
    case 'check': {
      const { attempt, run_id } = effect;
      const status = runpodId === undefined ? 'unreachable' : await gpu.status(runpodId, run_id);
      const asks = status === 'queued' || status === 'unreachable';
      const line = asks ? await lineOf(env, state, state.attempts[attempt - 1]?.endpoint ?? state.endpoint) : null;
      return { kind: 'signal', signal: { kind: 'run_status', attempt, status, line } };
    }
    case 'cancel_run':
      return { kind: runpodId === undefined ? 'done' : await gpu.cancel(runpodId, effect.run_id) };
    case 'project':
      await projectJob(
        env.DB,
        viewOf(state),
        used === null || state.completed_at === null ? null : { ...state, ...used, completed_at: state.completed_at },
      );
      return { kind: 'done' };
    case 'ask_admission': {
      const mine = await accountStub(env, state.account).ask(state.id, lapsesAt(state.deadline, context.config.policy));
      return mine ? { kind: 'signal', signal: { kind: 'admitted' } } : { kind: 'done' };
    }
    case 'release':
      await accountStub(env, state.account).release(state.id, used ?? { gpu_ms: 0, micro_usd: 0 });
      return { kind: 'done' };
    case 'notify': {
      const event = jobEvent(noticeOf(state, effect), effect.sequence, effect.at, context.config.publicUrl);
      await notify(env, state.account, event);
      return { kind: 'done' };
    }
  }
}

/** RunPod's id of the endpoint that an effect is for: that of the effect's own attempt. */
function runpodIdOf(effect: OutwardEffect, { config, state }: EffectContext): string | undefined {
  const attempt = 'attempt' in effect ? state.attempts[effect.attempt - 1] : undefined;
  return attempt === undefined ? undefined : config.endpoints[attempt.endpoint]?.runpod_id;
}

/** Calls `/run` where the run may go now. The place is settled and stored before the call. */
async function send(attempt: number, context: EffectContext): Promise<EffectOutcome> {
  const { env, config, state, tell, wanted } = context;
  const route = await routeOf(env, config, state);
  if (!wanted()) {
    return { kind: 'done' };
  }
  switch (route.kind) {
    case 'nowhere': {
      const gone = { code: 'provider_refused', message: 'The endpoint is no longer configured.' } as const;
      return signal({ kind: 'run_refused', attempt, again: false, ...gone, retry_after_ms: null });
    }
    case 'wait':
      return signal({ kind: 'run_held', attempt, wait_ms: route.wait_ms, ...route.why });
    case 'go': {
      tell({ kind: 'routed', attempt, endpoint: route.endpoint });
      const answer = await run(attempt, config.endpoints[route.endpoint]?.runpod_id ?? '', context);
      await reportRun(env, state.id, route, answer);
      return signal(cameOf(attempt, answer));
    }
  }
}

const signal = (what: Signal): EffectOutcome => ({ kind: 'signal', signal: what });

async function run(attempt: number, endpoint: string, { config, gpu, state, now }: EffectContext): Promise<RunAnswer> {
  const binding = { job: state.id, attempt };
  const expires_at = state.deadline + TOKEN_GRACE_MS;
  const [token, hookToken] = await Promise.all([
    signToken(config.tokenSecret, { purpose: 'worker', ...binding }, expires_at),
    signToken(config.tokenSecret, { purpose: 'webhook', ...binding }, expires_at),
  ]);
  const left_ms = state.deadline - now + RUN_GRACE_MS;
  return gpu.run({
    endpoint,
    input: [JSON.stringify({ ...binding, gateway: config.publicUrl, token })],
    webhook: `${config.publicUrl}/hooks/runpod/${state.id}/${attempt}?token=${hookToken}`,
    execution_timeout_ms: left_ms,
    ttl_ms: left_ms,
  });
}

function cameOf(attempt: number, answer: RunAnswer): Signal {
  switch (answer.kind) {
    case 'accepted':
      return { kind: 'run_accepted', attempt, run_id: answer.run_id };
    case 'refused': {
      const { about, again, code, message, retry_after_ms } = answer;
      return about === 'endpoint'
        ? // Not this run's fault: the endpoint has been told, and says where it may go instead, or until when to wait.
          { kind: 'run_held', attempt, wait_ms: REROUTE_MS, code, message }
        : { kind: 'run_refused', attempt, again, code, message, retry_after_ms };
    }
    case 'unknown':
      return { kind: 'run_unknown', attempt };
  }
}
