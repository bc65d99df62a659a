import { DurableObject } from 'cloudflare:workers';
import { configOf, requireConfig, type Config } from '../../config/schema.ts';
import type { LogEvent } from '../../contract/events.ts';
import { isTerminal, type JobView, type Status } from '../../contract/job.ts';
import type { NewJob } from '../../contract/new-job.ts';
import type { JobRpc, JobSpec, WorkerRefusal } from '../../contract/rpc.ts';
import type { ClaimRequest, CompleteRequest } from '../../contract/worker.ts';
import { wakeAt } from '../../domain/job/clock.ts';
import { lateUploadsUntil } from '../../domain/job/late-uploads.ts';
import { newState, step } from '../../domain/job/machine.ts';
import { wantsRun } from '../../domain/job/run-accepted.ts';
import type { Reply, Signal } from '../../domain/job/signals.ts';
import { outputsFit } from '../../domain/job/size.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import { isStillNeeded } from '../../domain/job/effect-relevance.ts';
import { checkClaim } from '../../domain/job/worker-messages.ts';
import type { Env } from '../../env.ts';
import { gpuProvider } from '../../providers/gpu/providers.ts';
import { deleteJob } from '../../storage/d1/jobs.ts';
import { deleteOutputs } from '../../storage/r2/job-outputs.ts';
import { Alarm } from '../shared/alarm.ts';
import { deleteNotifications } from '../shared/notify.ts';
import { openChannel, readWorkerFrame } from './worker-channel.ts';
import { perform, type EffectOutcome, type OutwardEffect } from './effects.ts';
import { FrameBudget } from './frame-budget.ts';
import { Outbox, type Begun } from './outbox.ts';
import { findMissing } from './outputs.ts';
import { CLOSE, close, identityOf, JobSockets, sendFrame } from './sockets.ts';
import { JobStore } from './store.ts';
import { viewOf } from './view.ts';
import { Watchers } from './watchers.ts';

/**
 * An object without calls stays in memory for about this long (reference/cloudflare.md section 2). When the alarm rings
 * sooner, the effects that were done are not stored for their own sake: the next transition stores them, or the alarm
 * does.
 */
const AWAKE_MS = 10_000;

/**
 * One object per job. It keeps the state of the job machine and the event log, carries out effects, owns the one alarm,
 * and serves the worker's channel and the watchers. It decides nothing itself: everything that happens to the job is a
 * signal to the machine (`apply`).
 *
 * Concurrency: a transition is synchronous, from reading the state to storing the next one, so no other call comes in
 * between. Effects await networks and run beside it; the outbox does each at least once and none twice at a time, and
 * what an effect comes to is a signal again. A second worker or an old attempt cannot interfere, because the machine
 * accepts signals of the current claim only.
 *
 * Storage (SQLite, docs/reference/storage.md): the row of `job` has the state, the pending effects and the end of the
 * log, and is written once per transition, except for live progress, which the next write includes; `chunks` has the
 * log before it; `job_spec` has what does not change. Facts about a socket are in its attachment. The newest preview
 * and the frame budget are on the heap only and may be lost.
 *
 * Invariants:
 * - state, events and effects of a transition are stored together or not at all, before a watcher or the worker gets
 *   them; only live progress and previews are sent without being stored;
 * - the event that announces a terminal status is the last of the log;
 * - the alarm is set while the job waits for anything: a deadline, a pending effect, its erasing;
 * - the object can be constructed while the gateway is misconfigured, or the alarm that ends the job would be lost.
 */
export class Job extends DurableObject<Env> implements JobRpc {
  private readonly store: JobStore;
  private readonly sockets: JobSockets;
  private readonly watchers: Watchers;
  private readonly outbox: Outbox;
  private state: JobState | null;
  private readonly nextAlarm: Alarm;
  /** Whether everything of the job but its state is removed, as far as this instance knows. */
  private cleared = false;
  private readonly frames = new FrameBudget();
  /** The erasing in progress, which a client and the alarm share. */
  private erasing: Promise<void> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.nextAlarm = new Alarm(ctx.storage);
    this.store = new JobStore(ctx.storage);
    this.sockets = new JobSockets(ctx);
    this.watchers = new Watchers(this.sockets, this.store);
    this.outbox = new Outbox({
      store: this.store,
      isRelevant: (effect, now) => this.state !== null && isStillNeeded(this.state, effect, now),
      perform: (effect, now) => this.perform(effect, now),
      onSignal: (signal) => this.apply(signal),
      willStoreSoon: () => this.nextAlarm.at !== null && this.nextAlarm.at < Date.now() + AWAKE_MS,
    });
    this.state = this.store.load();
    if (this.state !== null && configOf(env).ok) {
      this.recover();
    }
  }

  private get config(): Config {
    return requireConfig(this.env);
  }

  create(job: NewJob): JobView {
    if (this.state !== null) {
      return this.store.initialView();
    }
    const now = Date.now();
    const transition = step(newState(job, this.config.policy, now), { kind: 'created' }, now, this.config.policy);
    const first = { ...viewOf(transition.state), queue_position: job.queue_position };
    const { workflow, inputs } = job;
    const begun = this.begin(transition.state, now, (begin) =>
      this.store.create({ state: transition.state, workflow, inputs, first }, { ...transition, now }, begin),
    );
    this.state = transition.state;
    this.ctx.waitUntil(this.carryOut(begun));
    return first;
  }

  initialView(account: string): JobView | null {
    return this.state !== null && isVisible(this.state, account) ? this.store.initialView() : null;
  }

  onAdmitted(): void {
    this.apply({ kind: 'admitted' });
  }

  view(account: string): JobView | null {
    return this.state !== null && isVisible(this.state, account) ? viewOf(this.state) : null;
  }

  cancel(account: string): JobView | null {
    if (this.state === null || !isVisible(this.state, account)) {
      return null;
    }
    this.apply({ kind: 'cancel' });
    return viewOf(this.state);
  }

  async erase(account: string): Promise<'erased' | 'not_found' | 'not_finished'> {
    const { state } = this;
    if (state === null || !isVisible(state, account)) {
      return 'not_found';
    }
    if (this.apply({ kind: 'erase' }) !== 'done') {
      return 'not_finished';
    }
    await this.drain();
    if (!this.store.pending.hasPendingNotifications()) {
      await this.eraseOnce(state);
    }
    return 'erased';
  }

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
    return { granted: { account, endpoint, options, deadline, ...this.store.spec() } };
  }

  uploadTarget(attempt: number, claim: string): { account: string; deadline: number } | { refused: WorkerRefusal } {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const reply = checkClaim({ state: this.state }, attempt, claim);
    return reply === 'granted'
      ? { account: this.state.account, deadline: this.state.deadline }
      : { refused: refusalOf(reply) };
  }

  attemptEndpoint(attempt: number): string | null {
    const current = this.state === null ? undefined : currentAttempt(this.state);
    return current?.number === attempt ? current.endpoint : null;
  }

  async complete(
    report: CompleteRequest,
  ): Promise<{ stored: Status } | { missing: string[] } | { refused: WorkerRefusal }> {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const stands = checkClaim({ state: this.state }, report.attempt, report.claim);
    if (stands === 'granted' && report.outcome === 'succeeded' && outputsFit(report.outputs)) {
      const missing = await findMissing(this.env.BUCKET, this.state, report.attempt, report.outputs);
      if (missing.length > 0) {
        return { missing };
      }
    }
    const reply = this.apply({ kind: 'complete', report });
    return reply === 'done' ? { stored: this.state.status } : { refused: refusalOf(reply) };
  }

  onProviderWebhook(attempt: number): boolean {
    if (this.state === null) {
      return false;
    }
    this.apply({ kind: 'run_hint', attempt });
    return wantsRun(this.state, attempt);
  }

  setProviderRunId(attempt: number, runId: string): void {
    this.apply({ kind: 'run_named', attempt, run_id: runId });
  }

  async rearm(): Promise<boolean> {
    if (this.state === null || this.state.erased) {
      return false;
    }
    this.store.commit(this.state, { events: [], effects: [{ kind: 'project' }], now: Date.now() });
    await this.alarm();
    return true;
  }

  async collectGarbage(): Promise<boolean> {
    await this.alarm();
    return this.state !== null && !this.state.erased;
  }

  override alarm(): Promise<void> {
    return this.nextAlarm.run({ job: this.state?.id ?? '' }, () => this.onAlarm());
  }

  /** Opens the WebSockets, since an upgrade cannot be an RPC (`JobRpc`). The Worker has authenticated the caller. */
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
    const allowed = this.frames.spend(Date.now());
    if (allowed === 'close') {
      close(socket, CLOSE.invalid, 'too many frames');
      return;
    }
    const frame = readWorkerFrame(message, this.state, identity.attempt, allowed === 'drop');
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
    const { attempt: sender, claim } = identity;
    const { seq } = frame.message;
    this.apply({ kind: 'worker_message', attempt: sender, claim, message: frame.message }, (state, reply) => {
      const attempt = currentAttempt(state);
      if (reply === 'finished' || attempt === undefined) {
        close(socket, attempt === undefined ? CLOSE.over : CLOSE.superseded, 'this attempt no longer counts');
      } else if (reply === 'gap') {
        // The object hibernated or restarted, and lost messages that it had not stored.
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
   * One transition of the machine: stores its result, and then notifies the watchers.
   * @param answer called first, so that the sender of the signal does not wait for a thousand watchers
   */
  private apply(signal: Signal, answer?: (state: JobState, reply: Reply) => void): Reply {
    if (this.state === null) {
      return 'ignored';
    }
    const now = Date.now();
    const transition = step(this.state, signal, now, this.config.policy);
    if (CHANGES_NOTHING.has(transition.reply) && transition.events.length === 0 && transition.effects.length === 0) {
      answer?.(this.state, transition.reply);
      return transition.reply;
    }
    if (!transition.durable) {
      // The worker keeps messages until they are acknowledged, so this is stored with the next transition
      // (docs/decisions/0045).
      this.state = transition.state;
      this.sockets.broadcast(transition.live);
      return transition.reply;
    }
    const effects = transition.effects.filter((effect) => effect.kind !== 'stop_worker');
    const stored = { events: transition.events, effects, now };
    let events: LogEvent[] = [];
    const begun = this.begin(transition.state, now, (begin) => {
      events = this.store.commit(transition.state, stored, effects.length > 0 ? begin : undefined);
    });
    this.state = transition.state;
    try {
      answer?.(transition.state, transition.reply);
      this.sockets.broadcast([...events, ...transition.live]);
      for (const effect of transition.effects) {
        if (effect.kind === 'stop_worker') {
          this.sockets.stopWorker(effect.attempt, effect.reason);
        }
      }
      this.sockets.closeStaleChannels(currentAttempt(transition.state)?.number ?? null);
      if (isTerminal(transition.state.status)) {
        this.sockets.closeWatchers();
      }
    } finally {
      if (effects.length > 0) {
        this.ctx.waitUntil(this.carryOut(begun));
      } else {
        this.setAlarm();
      }
    }
    return transition.reply;
  }

  /** Begins the due effects while their transition is being stored, so that one write has both. */
  private begin(state: JobState, now: number, store: (begin: () => void) => void): Begun {
    let begun: Begun = { effects: [], signals: [] };
    try {
      store(() => {
        begun = this.outbox.begin(now, (effect) => isStillNeeded(state, effect, now));
      });
    } catch (error) {
      this.outbox.cancelBegin(begun);
      throw error;
    }
    return begun;
  }

  /**
   * Carries out the begun effects. Sets the alarm before and after it awaits them, so that it rings if this instance
   * dies.
   */
  private async carryOut(begun: Begun): Promise<void> {
    const work = this.outbox.run(begun, Date.now());
    this.setAlarm();
    await work;
    this.setAlarm();
  }

  /** Carries out the due effects. */
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
          spec: () => this.store.spec(),
          now,
          onSignal: (signal) => void this.apply(signal),
          isRelevant: () => this.state !== null && isStillNeeded(this.state, effect, Date.now()),
        });
  }

  private async onAlarm(): Promise<void> {
    const { state } = this;
    if (state === null) {
      return;
    }
    if (isTerminal(state.status) && !this.store.pending.hasPendingNotifications() && Date.now() >= removedAt(state)) {
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
    const removed = this.cleared ? lateUploadsUntil(this.state) : removedAt(this.state);
    const at = times.length > 0 ? Math.min(...times) : removed;
    this.nextAlarm.setBy(at);
  }

  /**
   * Removes the job and everything it stored, once no notification about it is pending. Its state is kept, and cannot
   * be read, until no file can arrive any more and RunPod has accepted a cancel.
   */
  private eraseOnce(state: JobState): Promise<void> {
    this.erasing ??= this.removeStored(state).finally(() => {
      this.erasing = null;
    });
    return this.erasing;
  }

  /** Starts from the beginning again after a failure: the state is removed last. */
  private async removeStored(state: JobState): Promise<void> {
    const complete = this.store.pending.nextDue() === null && Date.now() >= lateUploadsUntil(state);
    if (this.cleared && !complete) {
      return;
    }
    await deleteOutputs(this.env.BUCKET, state.account, state.id);
    if (this.store.spec().inputs.some(({ key }) => key === undefined)) {
      await this.env.ACCOUNT.getByName(state.account).onJobErased(state.id);
    }
    await deleteNotifications(this.env, state.account, state.id);
    await deleteJob(this.env.DB, state.id, this.state?.erased === true);
    if (!complete) {
      this.cleared = true;
      if (!state.erased && this.state?.erased !== true) {
        this.apply({ kind: 'erase' });
      }
      this.setAlarm();
      return;
    }
    await this.store.erase();
    this.state = null;
    this.nextAlarm.clear();
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
   * A new instance, after hibernation or a crash. A crash of the process closes the sockets without an event, so an
   * open channel in the state may be gone. Effects that were in progress are carried out again.
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

/** Replies to a signal that came too late or for another attempt. */
const CHANGES_NOTHING: ReadonlySet<Reply> = new Set<Reply>(['ignored', 'finished', 'gap', 'claimed_elsewhere']);

/** A job is visible to its own account only, and until it is erased. */
const isVisible = (state: JobState, account: string): boolean => state.account === account && !state.erased;

/** When a finished job without pending notifications is removed. */
const removedAt = (state: JobState): number =>
  state.erased ? (state.completed_at ?? state.created_at) : viewOf(state).expires_at;

const refusalOf = (reply: Reply): WorkerRefusal => (reply === 'claimed_elsewhere' ? 'claimed_elsewhere' : 'finished');
