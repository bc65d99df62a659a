import { DurableObject } from 'cloudflare:workers';
import { configOf, requireConfig, type Config } from '../../config/schema.ts';
import type { LogEvent } from '../../contract/events.ts';
import { isTerminal, type JobView, type Status } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import type { JobRpc, JobSpec, WorkerRefusal } from '../../contract/rpc.ts';
import type { ClaimRequest, CompleteRequest } from '../../contract/worker.ts';
import { wakeAt } from '../../domain/job/clock.ts';
import { filesArriveUntil } from '../../domain/job/late-uploads.ts';
import { newState, step } from '../../domain/job/machine.ts';
import { wantsRun } from '../../domain/job/run-accepted.ts';
import type { Reply, Signal } from '../../domain/job/signals.ts';
import { outputsFit } from '../../domain/job/size.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import { stillWanted } from '../../domain/job/effect-relevance.ts';
import { claimStands } from '../../domain/job/worker-messages.ts';
import type { Env } from '../../env.ts';
import { gpuProvider } from '../../providers/gpu/providers.ts';
import { consoleLog } from '../../providers/log.ts';
import { forgetJob } from '../../storage/d1/jobs.ts';
import { deleteOutputs } from '../../storage/r2/job-outputs.ts';
import { forgetNotices } from '../shared/notify.ts';
import { openChannel, readFrame } from './worker-channel.ts';
import { perform, type EffectOutcome, type OutwardEffect } from './effects.ts';
import { FrameBudget } from './frame-budget.ts';
import { Outbox, type Begun } from './outbox.ts';
import { missingOf } from './outputs.ts';
import { CLOSE, close, identityOf, JobSockets, sendFrame } from './sockets.ts';
import { JobStore } from './store.ts';
import { viewOf } from './view.ts';
import { Watchers } from './watchers.ts';
import { errorMessage } from '../../lib/error-message.ts';

/** How long after a failure of the alarm it rings again. The platform itself would try six times, then never again. */
const ALARM_AGAIN_MS = 60_000;
/**
 * An object that nobody calls stays in memory for about so long (reference/cloudflare.md section 2). What was done of the outbox need not
 * be stored for its own sake where the alarm rings sooner: the next turn stores it, or the alarm does.
 */
const AWAKE_MS = 10_000;

/**
 * One object per job. It keeps the machine's state and the log, does what the machine wants done, owns the one alarm, and
 * serves the worker's channel and the watchers. It decides nothing itself: every happening goes through `apply`.
 */
export class Job extends DurableObject<Env> implements JobRpc {
  private readonly store: JobStore;
  private readonly sockets: JobSockets;
  private readonly watchers: Watchers;
  private readonly outbox: Outbox;
  private state: JobState | null;
  /** What the alarm is set to, as far as this instance knows; null: unknown. */
  private alarmAt: number | null = null;
  /** Everything of the job but its state is removed, as far as this instance knows. */
  private cleared = false;
  private readonly frames = new FrameBudget();
  /** The erasing that is under way: a client's and the alarm's are one. */
  private erasing: Promise<void> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.store = new JobStore(ctx.storage);
    this.sockets = new JobSockets(ctx);
    this.watchers = new Watchers(this.sockets, this.store);
    this.outbox = new Outbox({
      store: this.store,
      wanted: (effect, now) => this.state !== null && stillWanted(this.state, effect, now),
      perform: (effect, now) => this.perform(effect, now),
      tell: (signal) => this.apply(signal),
      storesSoon: () => this.alarmAt !== null && this.alarmAt < Date.now() + AWAKE_MS,
    });
    this.state = this.store.load();
    // Misconfigured, it must still be possible to construct it: else the alarm that ends the job would be lost.
    if (this.state !== null && configOf(env).ok) {
      this.recover();
    }
  }

  private get config(): Config {
    return requireConfig(this.env);
  }

  /**
   * Stores a new job and starts it, or puts it to wait for its account. Durable when it returns; a second call with the same id
   * answers what the first one answered, whatever has become of the job.
   */
  create(job: NewJob): JobView {
    if (this.state !== null) {
      return this.store.first();
    }
    const now = Date.now();
    const turn = step(newState(job, this.config.policy, now), { kind: 'created' }, now, this.config.policy);
    const first = { ...viewOf(turn.state), queue_position: job.queue_position };
    const { workflow, inputs } = job;
    const begun = this.begin(turn.state, now, (begin) =>
      this.store.create({ state: turn.state, workflow, inputs, first }, { ...turn, now }, begin),
    );
    this.state = turn.state;
    this.ctx.waitUntil(this.finish(begun));
    return first;
  }

  /** What `create` answered, or null as for `view`. */
  initialView(account: string): JobView | null {
    return this.state !== null && isVisible(this.state, account) ? this.store.first() : null;
  }

  /** The account has a place for the job. */
  onAdmitted(): void {
    this.apply({ kind: 'admitted' });
  }

  /** The job, or null when there is none or it is another account's. */
  view(account: string): JobView | null {
    return this.state !== null && isVisible(this.state, account) ? viewOf(this.state) : null;
  }

  /** Asks the job to stop. Idempotent; null as for `view`. */
  cancel(account: string): JobView | null {
    if (this.state === null || !isVisible(this.state, account)) {
      return null;
    }
    this.apply({ kind: 'cancel' });
    return viewOf(this.state);
  }

  /**
   * Removes a job that is over before its retention ends. It is gone for every caller at once; what others must still be told
   * of it (a webhook, its account) is told first.
   */
  async erase(account: string): Promise<'erased' | 'not_found' | 'not_over'> {
    const { state } = this;
    if (state === null || !isVisible(state, account)) {
      return 'not_found';
    }
    if (this.apply({ kind: 'erase' }) !== 'done') {
      return 'not_over';
    }
    await this.drain();
    if (!this.store.pending.owes()) {
      await this.eraseOnce(state);
    }
    return 'erased';
  }

  /** A worker takes an attempt. Repeating a granted claim grants it again. */
  claim(request: ClaimRequest): { granted: JobSpec } | { refused: WorkerRefusal } {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const reply = this.apply({ kind: 'claim', attempt: request.attempt, claim: request.claim, worker: request.worker });
    if (reply !== 'granted') {
      return { refused: refusalOf(reply) };
    }
    const { account, options, deadline } = this.state;
    const endpoint = currentAttempt(this.state)?.endpoint ?? this.state.endpoint;
    return { granted: { account, endpoint, options, deadline, ...this.store.order() } };
  }

  /** Whether this claim may still put files in R2 for the job, and where. */
  uploadTarget(attempt: number, claim: string): { account: string; deadline: number } | { refused: WorkerRefusal } {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const reply = claimStands({ state: this.state }, attempt, claim);
    return reply === 'granted'
      ? { account: this.state.account, deadline: this.state.deadline }
      : { refused: refusalOf(reply) };
  }

  /** The endpoint of the attempt that counts, or null. */
  attemptEndpoint(attempt: number): string | null {
    const current = this.state === null ? undefined : currentAttempt(this.state);
    return current?.number === attempt ? current.endpoint : null;
  }

  /** Takes the worker's terminal report, once its outputs are found in R2 with the reported sizes. */
  async complete(
    report: CompleteRequest,
  ): Promise<{ stored: Status } | { missing: string[] } | { refused: WorkerRefusal }> {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const stands = claimStands({ state: this.state }, report.attempt, report.claim);
    if (stands === 'granted' && report.outcome === 'succeeded' && outputsFit(report.outputs)) {
      const missing = await missingOf(this.env.BUCKET, this.state, report.attempt, report.outputs);
      if (missing.length > 0) {
        return { missing };
      }
    }
    const reply = this.apply({ kind: 'complete', report });
    return reply === 'done' ? { stored: this.state.status } : { refused: refusalOf(reply) };
  }

  /** RunPod's webhook came for an attempt. True where nobody knows which run it is about: see `named`. */
  onProviderWebhook(attempt: number): boolean {
    if (this.state === null) {
      return false;
    }
    this.apply({ kind: 'run_hint', attempt });
    return wantsRun(this.state, attempt);
  }

  /** RunPod's webhook for an attempt says that it is about this run. */
  setProviderRunId(attempt: number, runId: string): void {
    this.apply({ kind: 'run_named', attempt, run_id: runId });
  }

  /**
   * Makes the job look at the clock and say again what it is. For the sweeper: an alarm can be lost (reference/cloudflare.md
   * section 2), and so can a projection. False when there is no such job.
   */
  async rearm(): Promise<boolean> {
    if (this.state === null || this.state.erased) {
      return false;
    }
    this.store.commit(this.state, { events: [], effects: [{ kind: 'project' }], now: Date.now() });
    await this.alarm();
    return true;
  }

  /** Makes a job that is over do what its alarm is for. False when there is no such job, or it is erased and needs no line in a list. */
  async collectGarbage(): Promise<boolean> {
    await this.alarm();
    return this.state !== null && !this.state.erased;
  }

  override async alarm(): Promise<void> {
    this.alarmAt = null;
    try {
      await this.ring();
    } catch (error) {
      consoleLog({
        event: 'alarm_failed',
        job: this.state?.id ?? '',
        detail: errorMessage(error),
      });
      await this.ctx.storage.setAlarm(Date.now() + ALARM_AGAIN_MS);
    }
  }

  /** WebSocket doors: `/channel` for the worker, `/watch` for a watcher. The Worker has checked who asks. */
  override fetch(request: Request): Response {
    const url = new URL(request.url);
    const asked = url.searchParams;
    if (this.state === null) {
      return new Response(null, { status: 404 });
    }
    if (url.pathname !== '/channel') {
      return isVisible(this.state, asked.get('account') ?? '')
        ? this.watchers.open(this.state, asked.get('account'), asked.get('after'), this.config.limits.max_watchers)
        : new Response(null, { status: 404 });
    }
    const [attempt, claim] = [Number(asked.get('attempt')), asked.get('claim') ?? ''];
    return openChannel(this.sockets, this.state, attempt, claim, () =>
      this.apply({ kind: 'channel_opened', attempt, claim }),
    );
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    const identity = identityOf(socket);
    if (identity?.kind !== 'channel' || this.state === null) {
      return;
    }
    const allowed = this.frames.take(Date.now());
    if (allowed === 'close') {
      close(socket, CLOSE.invalid, 'too many frames');
      return;
    }
    const frame = readFrame(message, this.state, identity.attempt, allowed === 'drop');
    if (frame.kind === 'nothing') {
      return;
    }
    if (frame.kind === 'broken') {
      close(socket, CLOSE.invalid, 'no frame of the contract');
      return;
    }
    if (frame.kind === 'preview') {
      this.watchers.preview(this.state, identity.attempt, frame.preview, Date.now());
      return;
    }
    const { attempt: number, claim } = identity;
    const { seq } = frame.message;
    this.apply({ kind: 'worker_message', attempt: number, claim, message: frame.message }, (state, reply) => {
      const attempt = currentAttempt(state);
      if (reply === 'over' || attempt === undefined) {
        close(socket, attempt === undefined ? CLOSE.over : CLOSE.superseded, 'this attempt no longer counts');
      } else if (reply === 'gap') {
        // What this object had not stored it has forgotten, asleep or restarted.
        sendFrame(socket, { ack: this.store.acked(), resend: true });
      } else if (this.store.acked() >= seq) {
        sendFrame(socket, { ack: this.store.acked() });
      }
    });
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 say that no code came; they may not be sent.
    close(socket, code === 1005 || code === 1006 ? 1000 : code, 'closed');
    this.noticeClosed(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.noticeClosed(socket);
  }

  /**
   * One turn of the machine: stores what came of it, then tells whoever listens.
   * @param answer told first: who brought the signal does not wait for a thousand watchers to be told
   */
  private apply(signal: Signal, answer?: (state: JobState, reply: Reply) => void): Reply {
    if (this.state === null) {
      return 'ignored';
    }
    const now = Date.now();
    const turn = step(this.state, signal, now, this.config.policy);
    if (CHANGES_NOTHING.has(turn.reply) && turn.events.length === 0 && turn.effects.length === 0) {
      answer?.(this.state, turn.reply);
      return turn.reply;
    }
    if (!turn.durable) {
      // The worker keeps what is not acknowledged, so it is stored with whatever comes next (docs/decisions/0045).
      this.state = turn.state;
      this.sockets.broadcast(turn.live);
      return turn.reply;
    }
    const effects = turn.effects.filter((effect) => effect.kind !== 'stop_worker');
    const stored = { events: turn.events, effects, now };
    let events: LogEvent[] = [];
    const begun = this.begin(turn.state, now, (begin) => {
      events = this.store.commit(turn.state, stored, effects.length > 0 ? begin : undefined);
    });
    this.state = turn.state;
    try {
      answer?.(turn.state, turn.reply);
      this.sockets.broadcast([...events, ...turn.live]);
      for (const effect of turn.effects) {
        if (effect.kind === 'stop_worker') {
          this.sockets.stopWorker(effect.attempt, effect.reason);
        }
      }
      this.sockets.closeStaleChannels(currentAttempt(turn.state)?.number ?? null);
      if (isTerminal(turn.state.status)) {
        this.sockets.closeWatchers();
      }
    } finally {
      if (effects.length > 0) {
        this.ctx.waitUntil(this.finish(begun));
      } else {
        this.setAlarm();
      }
    }
    return turn.reply;
  }

  /** Begins what is due after a turn that is being stored, so that one write holds both. */
  private begin(state: JobState, now: number, store: (begin: () => void) => void): Begun {
    let begun: Begun = { effects: [], signals: [] };
    try {
      store(() => {
        begun = this.outbox.begin(now, (effect) => stillWanted(state, effect, now));
      });
    } catch (error) {
      this.outbox.takeBack(begun);
      throw error;
    }
    return begun;
  }

  /** Does what was begun. The alarm is set before the waiting and after it: whenever this instance dies, it rings. */
  private async finish(begun: Begun): Promise<void> {
    const work = this.outbox.run(begun, Date.now());
    this.setAlarm();
    await work;
    this.setAlarm();
  }

  /** Does what is due. */
  private async drain(): Promise<void> {
    const work = this.outbox.drain(Date.now());
    this.setAlarm();
    await work;
    this.setAlarm();
  }

  private perform(effect: OutwardEffect, now: number): Promise<EffectOutcome> {
    const { state, env, config } = this;
    return state === null
      ? Promise.resolve({ kind: 'done' })
      : perform(effect, {
          env,
          config,
          gpu: gpuProvider(state.worker, { config, bucket: env.BUCKET, clock: Date.now }),
          state,
          spec: () => this.store.order(),
          now,
          tell: (signal) => void this.apply(signal),
          wanted: () => this.state !== null && stillWanted(this.state, effect, Date.now()),
        });
  }

  private async ring(): Promise<void> {
    const { state } = this;
    if (state === null) {
      return;
    }
    if (isTerminal(state.status) && !this.store.pending.owes() && Date.now() >= leavesAt(state)) {
      await this.eraseOnce(state);
      if (this.state === null) {
        return;
      }
    }
    for (const silent of this.sockets.silentChannels(Date.now())) {
      close(silent, CLOSE.silent, 'no ping for too long');
      this.noticeClosed(silent);
    }
    this.apply({ kind: 'clock' });
    this.store.flush();
    await this.drain();
  }

  private setAlarm(): void {
    if (this.state === null) {
      return;
    }
    const times = [wakeAt(this.state, this.config.policy, Date.now()), this.store.pending.nextDue()].filter(
      (at) => at !== null,
    );
    const leaves = this.cleared ? filesArriveUntil(this.state) : leavesAt(this.state);
    const at = times.length > 0 ? Math.min(...times) : leaves;
    // One that rings too early finds nothing due and sets the next: a call is cheaper than writing the alarm again.
    if (this.alarmAt === null || at < this.alarmAt) {
      this.alarmAt = at;
      void this.ctx.storage.setAlarm(at);
    }
  }

  /**
   * Removes the job and all it stored, as soon as nobody is to be told of it any more. What is left until no file can arrive any more, and
   * until RunPod has heard of a cancel, is this object's state, which nobody can see.
   */
  private eraseOnce(state: JobState): Promise<void> {
    this.erasing ??= this.removeStored(state).finally(() => {
      this.erasing = null;
    });
    return this.erasing;
  }

  /** Begun again from the start if it fails halfway: the state goes last. */
  private async removeStored(state: JobState): Promise<void> {
    const goes = this.store.pending.nextDue() === null && Date.now() >= filesArriveUntil(state);
    if (this.cleared && !goes) {
      return;
    }
    await deleteOutputs(this.env.BUCKET, state.account, state.id);
    if (this.store.order().inputs.some(({ key }) => key === undefined)) {
      await this.env.ACCOUNT.getByName(state.account).onJobErased(state.id);
    }
    await forgetNotices(this.env, state.account, state.id);
    await forgetJob(this.env.DB, state.id, this.state?.erased === true);
    if (!goes) {
      this.cleared = true;
      if (!state.erased && this.state?.erased !== true) {
        this.apply({ kind: 'erase' });
      }
      this.setAlarm();
      return;
    }
    await this.store.erase();
    this.state = null;
    this.alarmAt = null;
  }

  private noticeClosed(socket: WebSocket): void {
    const identity = identityOf(socket);
    if (identity?.kind !== 'channel') {
      return;
    }
    const others = this.sockets.channels(identity.attempt).filter((other) => other !== socket);
    if (others.length === 0) {
      this.apply({ kind: 'channel_closed', attempt: identity.attempt, claim: identity.claim });
    }
  }

  /**
   * A new instance, after hibernation or after a crash. A crash of the whole process takes the sockets with it without a word:
   * the state must not go on believing in one. What was being done is done again.
   */
  private recover(): void {
    const due = this.store.pending.nextDue();
    if (due !== null && due <= Date.now()) {
      this.setAlarm();
    }
    const attempt = this.state === null ? undefined : currentAttempt(this.state);
    if (
      attempt?.channel_open === true &&
      attempt.claim !== null &&
      this.sockets.channels(attempt.number).length === 0
    ) {
      this.apply({ kind: 'channel_closed', attempt: attempt.number, claim: attempt.claim });
    }
  }
}

/** Answers to a signal that came too late or to the wrong one. */
const CHANGES_NOTHING: ReadonlySet<Reply> = new Set<Reply>(['ignored', 'over', 'gap', 'claimed_elsewhere']);

/** A job is there for its own account only, and until it is erased. */
const isVisible = (state: JobState, account: string): boolean => state.account === account && !state.erased;

/** When a job that is over, and of which nobody is to be told any more, is removed. */
const leavesAt = (state: JobState): number =>
  state.erased ? (state.completed_at ?? state.created_at) : viewOf(state).expires_at;

const refusalOf = (reply: Reply): WorkerRefusal => (reply === 'claimed_elsewhere' ? 'claimed_elsewhere' : 'over');
