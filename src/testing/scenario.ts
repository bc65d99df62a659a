import { policySchema } from '../contract/limits.ts';
import type { EventBody, LiveEvent } from '../contract/events.ts';
import type { Output } from '../contract/job.ts';
import type { FallbackEndpoint } from '../contract/new-job.ts';
import type { WorkerKind } from '../contract/run.ts';
import type { CompleteRequest, WorkerError } from '../contract/worker.ts';
import { newState, step } from '../domain/job/machine.ts';
import type { Effect, Reply, Signal } from '../domain/job/signals.ts';
import type { JobState } from '../domain/job/state.ts';

/** The job machine without an object: the test sends signals and moves the clock, and reads the events and effects. */

export const START = 1_800_000_000_000;
export const policy = policySchema.parse({});
export const worker = { id: 'w1', version: '0.1.0' };
/** A kind of worker that does not report to the gateway. */
export const SILENT_WORKER: WorkerKind = 'worker-comfyui';
export const claimA = '00000000-0000-4000-8000-00000000000a';
export const claimB = '00000000-0000-4000-8000-00000000000b';
const sha = 'a'.repeat(64);
export const picture: Output = {
  name: 't_00001_.png',
  node_id: '2',
  class_type: 'SaveImage',
  type: 'image',
  content_type: 'image/png',
  size_bytes: 3,
  sha256: sha,
  key: 'k',
  temp: false,
};

/** One job: sends it signals and collects what the machine returns. */
export class Scenario {
  state: JobState;
  now = START;
  events: EventBody[] = [];
  effects: Effect[] = [];
  live: LiveEvent[] = [];
  /** Whether the last transition must be stored. */
  durable = true;
  reply: Reply = 'done';

  constructor(
    overrides: {
      deadline?: number;
      start_deadline?: number;
      waits?: boolean;
      price_per_second?: number;
      fallbacks?: FallbackEndpoint[];
      worker?: WorkerKind;
    } = {},
  ) {
    this.state = newState(
      {
        id: '01930000-0000-7000-8000-000000000000',
        account: 'acc',
        key: 'key-1',
        price_per_second: overrides.price_per_second ?? null,
        waits: overrides.waits ?? false,
        endpoint: 'default',
        fallbacks: overrides.fallbacks ?? [],
        worker: overrides.worker ?? 'worker-gpu',
        workflow: '{}',
        inputs: [],
        options: { previews: true, temp_outputs: false, metadata: true },
        metadata: {},
        resolved: { seeds: [], overrides: [], clamped: [] },
        created_at: START,
        deadline: overrides.deadline ?? START + 900_000,
        start_deadline: overrides.start_deadline ?? null,
        queue_position: null,
      },
      policy,
    );
    this.on({ kind: 'created' });
  }

  on(signal: Signal): this {
    const transition = step(this.state, signal, this.now, policy);
    this.state = transition.state;
    this.events.push(...transition.events);
    this.effects.push(...transition.effects);
    this.live.push(...transition.live);
    this.durable = transition.durable;
    this.reply = transition.reply;
    return this;
  }

  /** Moves the clock, then runs the alarm. */
  after(ms: number): this {
    this.now += ms;
    return this.on({ kind: 'clock' });
  }

  claimed(claim = claimA): this {
    const attempt = this.state.attempts.length;
    return this.on({ kind: 'run_accepted', attempt, run_id: `run-${attempt}` })
      .on({ kind: 'claim', attempt, claim, worker })
      .on({ kind: 'channel_opened', attempt, claim });
  }

  statuses(): string[] {
    return this.events.flatMap((event) => (event.event === 'status' ? [event.data.status] : []));
  }

  did(kind: Effect['kind']): Effect[] {
    return this.effects.filter((effect) => effect.kind === kind);
  }
}

export const report = (attempt: number, claim: string, rest: Partial<CompleteRequest>): Signal => ({
  kind: 'complete',
  report: { attempt, claim, last_seq: 0, outcome: 'succeeded', outputs: [], timings: {}, usage: {}, ...rest },
});
export const workerError = (rest: Partial<WorkerError> = {}): WorkerError => ({
  code: 'comfyui_unavailable',
  message: 'gone',
  at: 'worker',
  retryable: true,
  ...rest,
});
