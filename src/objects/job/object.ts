import { DurableObject } from 'cloudflare:workers';
import { requireConfig, type Config } from '../../config.ts';
import { isTerminal, type JobView, type Output, type Status } from '../../contract/job.ts';
import type { Preview } from '../../contract/events.ts';
import type { Graph, JobInput, JobOptions, NewJob } from '../../contract/new-job.ts';
import {
  MAX_FRAME_CHARS,
  MAX_INLINE_TEXT_BYTES,
  numberedMessage,
  previewMessage,
  workerMessage,
  type ClaimRequest,
  type CompleteRequest,
  type WorkerMessage,
} from '../../contract/worker.ts';
import { wakeAt } from '../../core/job/clock.ts';
import { newState, step } from '../../core/job/machine.ts';
import type { Reply, Signal } from '../../core/job/signals.ts';
import { currentAttempt, type JobState } from '../../core/job/state.ts';
import { claimStands } from '../../core/job/worker-signals.ts';
import type { Env } from '../../env.ts';
import { runpodProvider } from '../../providers/gpu/runpod.ts';
import { consoleLog } from '../../providers/log.ts';
import { outputKey } from '../../storage/keys.ts';
import { forgetJob } from '../../storage/d1/jobs.ts';
import { deleteOutputs, missingOutputs } from '../../storage/r2/job-outputs.ts';
import { perform } from './effects.ts';
import { CLOSE, close, identityOf, JobSockets, sendFrame } from './sockets.ts';
import { JobStore, type OutboxRow } from './store.ts';
import { viewOf } from './view.ts';

/** How long an effect may take before it counts as dropped. Longer than any timeout inside an effect. */
const LEASE_MS = 30_000;
/** First wait before an effect is tried again; doubles up to the last. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 60_000;

/** What a granted claim may know. */
export type WorkOrder = {
  account: string;
  endpoint: string;
  workflow: Graph;
  inputs: JobInput[];
  options: JobOptions;
  deadline: number;
};

/** Why a worker's call was not taken. */
export type Refusal = 'not_found' | 'claimed_elsewhere' | 'over';

/**
 * One object per job. It keeps the machine's state and the log, does what the machine wants done, owns the one alarm, and
 * serves the worker's channel and the watchers. It decides nothing itself: every happening goes through `apply`.
 */
export class Job extends DurableObject<Env> {
  private readonly store: JobStore;
  private readonly sockets: JobSockets;
  private readonly config: Config;
  private state: JobState | null;
  /** Effects being done right now by this instance; a restart forgets them, and their lease brings them back. */
  private readonly inFlight = new Set<string>();
  private alarmAt: number | null = null;
  private lastPreview: Preview | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.config = requireConfig(env);
    this.store = new JobStore(ctx.storage);
    this.sockets = new JobSockets(ctx);
    this.state = this.store.load();
    this.noticeLostChannel();
  }

  /** Stores a new job and starts it. Durable when it returns; a second call with the same id answers the first one's job. */
  create(job: NewJob): JobView {
    if (this.state === null) {
      const state = newState(job, this.config.policy);
      this.store.create(state, job.workflow, job.inputs);
      this.state = state;
      this.apply({ kind: 'created' });
    }
    return viewOf(this.state);
  }

  /** The job, or null when there is none or it is another account's. */
  view(account: string): JobView | null {
    return this.state?.account === account ? viewOf(this.state) : null;
  }

  /** Asks the job to stop. Idempotent; null as for `view`. */
  cancel(account: string): JobView | null {
    if (this.state?.account !== account) {
      return null;
    }
    this.apply({ kind: 'cancel' });
    return viewOf(this.state);
  }

  /** A worker takes an attempt. Repeating a granted claim grants it again. */
  claim(request: ClaimRequest): { granted: WorkOrder } | { refused: Refusal } {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const reply = this.apply({ kind: 'claim', attempt: request.attempt, claim: request.claim, worker: request.worker });
    if (reply !== 'granted') {
      return { refused: refusalOf(reply) };
    }
    const { account, endpoint, options, deadline } = this.state;
    return { granted: { account, endpoint, options, deadline, ...this.store.order() } };
  }

  /** Whether this claim may still put files in R2 for the job, and where. */
  uploader(attempt: number, claim: string): { account: string; deadline: number } | { refused: Refusal } {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const reply = claimStands({ state: this.state }, attempt, claim);
    return reply === 'granted'
      ? { account: this.state.account, deadline: this.state.deadline }
      : { refused: refusalOf(reply) };
  }

  /** The endpoint of the attempt that counts, or null. */
  endpointOf(attempt: number): string | null {
    return this.state !== null && currentAttempt(this.state)?.number === attempt ? this.state.endpoint : null;
  }

  /** Takes the worker's terminal report, once its outputs are found in R2 with the reported sizes. */
  async complete(report: CompleteRequest): Promise<{ stored: Status } | { missing: string[] } | { refused: Refusal }> {
    if (this.state === null) {
      return { refused: 'not_found' };
    }
    const stands = claimStands({ state: this.state }, report.attempt, report.claim);
    if (stands === 'granted') {
      const missing = await this.missing(report.attempt, report.outputs);
      if (missing.length > 0) {
        return { missing };
      }
    }
    const reply = this.apply({ kind: 'complete', report });
    return reply === 'done' ? { stored: this.state.status } : { refused: refusalOf(reply) };
  }

  /** RunPod's webhook came for an attempt. */
  hint(attempt: number): void {
    if (this.state !== null) {
      this.apply({ kind: 'run_hint', attempt });
    }
  }

  /** Makes the job look at the clock. For the sweeper: an alarm can be lost (reference/cloudflare.md section 2). */
  async wake(): Promise<void> {
    await this.alarm();
  }

  override async alarm(): Promise<void> {
    this.alarmAt = null;
    if (this.state === null) {
      return;
    }
    if (isTerminal(this.state.status) && this.store.nextDue() === null && Date.now() >= viewOf(this.state).expires_at) {
      await this.erase(this.state);
      return;
    }
    this.apply({ kind: 'clock' });
    await this.drain();
  }

  /** WebSocket doors: `/channel` for the worker, `/watch` for a watcher. The Worker has checked who asks. */
  override fetch(request: Request): Response {
    const url = new URL(request.url);
    if (this.state === null) {
      return new Response(null, { status: 404 });
    }
    return url.pathname === '/channel'
      ? this.openChannel(this.state, Number(url.searchParams.get('attempt')), url.searchParams.get('claim') ?? '')
      : this.openWatch(this.state, url.searchParams.get('account'), url.searchParams.get('after'));
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    const identity = identityOf(socket);
    if (identity?.kind !== 'channel' || this.state === null) {
      return;
    }
    if (typeof message !== 'string' || message.length > MAX_FRAME_CHARS) {
      close(socket, 1009, 'frame too large or not text');
      return;
    }
    const frame = parseFrame(message);
    const preview = previewMessage.safeParse(frame);
    if (preview.success) {
      this.preview(identity.attempt, preview.data);
      return;
    }
    const numbered = numberedMessage.safeParse(frame);
    if (!numbered.success) {
      close(socket, CLOSE.invalid, 'no seq');
      return;
    }
    const parsed = workerMessage.safeParse(frame);
    const known =
      parsed.success && this.mayReport(identity.attempt, parsed.data)
        ? parsed.data
        : { seq: numbered.data.seq, type: 'unknown' as const };
    const reply = this.apply({
      kind: 'worker_message',
      attempt: identity.attempt,
      claim: identity.claim,
      message: known,
    });
    const attempt = currentAttempt(this.state);
    if (reply === 'over' || attempt === undefined) {
      close(socket, CLOSE.over, 'this attempt no longer counts');
      return;
    }
    sendFrame(socket, { ack: attempt.acked });
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 say that no code came; they may not be sent.
    close(socket, code === 1005 || code === 1006 ? 1000 : code, 'closed');
    this.noticeClosed(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.noticeClosed(socket);
  }

  /** One turn of the machine: stores what came of it, then tells whoever listens. */
  private apply(signal: Signal): Reply {
    if (this.state === null) {
      return 'ignored';
    }
    const now = Date.now();
    const turn = step(this.state, signal, now, this.config.policy);
    if (turn.reply === 'ignored' && turn.events.length === 0 && turn.effects.length === 0) {
      return turn.reply;
    }
    const later = turn.effects.filter((effect) => effect.kind !== 'stop_worker');
    const events = this.store.commit(turn.state, turn.events, later, now);
    this.state = turn.state;
    this.sockets.broadcast(events);
    for (const effect of turn.effects) {
      if (effect.kind === 'stop_worker') {
        this.sockets.stopWorker(effect.attempt, effect.reason);
      }
    }
    this.sockets.closeStaleChannels(currentAttempt(turn.state)?.number ?? null);
    if (isTerminal(turn.state.status)) {
      this.sockets.closeWatchers();
    }
    this.setAlarm();
    if (later.length > 0) {
      this.ctx.waitUntil(this.drain());
    }
    return turn.reply;
  }

  /** Does the effects that are due. Safe to run twice at once. */
  private async drain(): Promise<void> {
    const due = this.store.due(Date.now()).filter((row) => !this.inFlight.has(row.key));
    await Promise.all(due.map((row) => this.carryOut(row)));
    this.setAlarm();
  }

  private async carryOut(row: OutboxRow): Promise<void> {
    const { effect, key } = row;
    if (this.state === null || effect.kind === 'stop_worker') {
      return;
    }
    if (effect.kind === 'send' && row.started) {
      // `/run` was being called when an earlier instance ended: whether RunPod took it nobody knows.
      this.store.done(key);
      this.apply({ kind: 'run_unknown', attempt: effect.attempt });
      return;
    }
    this.inFlight.add(key);
    const now = Date.now();
    this.store.lease(key, now + LEASE_MS);
    const gpu = runpodProvider(this.config.runpod);
    const outcome = await perform(effect, { env: this.env, config: this.config, gpu, state: this.state, now }).catch(
      (error: unknown) => {
        const detail = error instanceof Error ? error.message : 'unknown';
        consoleLog({ event: 'effect_failed', job: this.state?.id ?? '', effect: effect.kind, detail });
        return { kind: 'again' as const };
      },
    );
    this.inFlight.delete(key);
    if (outcome.kind === 'again') {
      this.store.again(key, Date.now() + Math.min(AGAIN_MS * 2 ** row.tries, AGAIN_MAX_MS));
      return;
    }
    this.store.done(key);
    if (outcome.kind === 'signal') {
      this.apply(outcome.signal);
    }
  }

  private setAlarm(): void {
    if (this.state === null) {
      return;
    }
    const times = [wakeAt(this.state, this.config.policy, Date.now()), this.store.nextDue()].filter(
      (at) => at !== null,
    );
    const at = times.length > 0 ? Math.min(...times) : viewOf(this.state).expires_at;
    if (at !== this.alarmAt) {
      this.alarmAt = at;
      void this.ctx.storage.setAlarm(at);
    }
  }

  private async erase(state: JobState): Promise<void> {
    await deleteOutputs(this.env.BUCKET, state.account, state.id);
    await forgetJob(this.env.DB, state.id);
    this.state = null;
    await this.ctx.storage.deleteAll();
  }

  private async missing(attempt: number, outputs: readonly Output[]): Promise<string[]> {
    const misplaced = outputs.filter((output) => !this.isPlaced(attempt, output)).map((output) => output.name);
    return misplaced.length > 0 ? misplaced : missingOutputs(this.env.BUCKET, outputs);
  }

  /** An output may name its own place in R2 and no other, or carry a short text. */
  private isPlaced(attempt: number, output: Output): boolean {
    if (this.state === null) {
      return false;
    }
    return output.key === null
      ? output.text !== undefined && output.text.length <= MAX_INLINE_TEXT_BYTES
      : output.key === outputKey(this.state.account, this.state.id, attempt, output.name);
  }

  private mayReport(attempt: number, message: WorkerMessage): boolean {
    return message.type !== 'output' || this.isPlaced(attempt, message.output);
  }

  private preview(attempt: number, { node_id, content_type, data_base64 }: Preview): void {
    if (this.state !== null && currentAttempt(this.state)?.number === attempt) {
      this.lastPreview = { node_id, content_type, data_base64 };
      this.sockets.broadcast([{ event: 'preview', data: this.lastPreview }]);
    }
  }

  private openChannel(state: JobState, attempt: number, claim: string): Response {
    const stands = claimStands({ state }, attempt, claim);
    if (stands !== 'granted') {
      return new Response(null, { status: stands === 'claimed_elsewhere' ? 409 : 410 });
    }
    const older = this.sockets.channels(attempt);
    const { client, server } = this.sockets.accept({ kind: 'channel', attempt, claim });
    for (const socket of older) {
      close(socket, CLOSE.replaced, 'replaced by a newer connection');
    }
    this.apply({ kind: 'channel_opened', attempt, claim });
    sendFrame(server, { ack: currentAttempt(state)?.acked ?? 0 });
    if (state.cancel !== null) {
      sendFrame(server, { cancel: true, reason: 'client' });
    }
    return new Response(null, { status: 101, webSocket: client });
  }

  private openWatch(state: JobState, account: string | null, after: string | null): Response {
    if (state.account !== account) {
      return new Response(null, { status: 404 });
    }
    const over = isTerminal(state.status);
    if (over && after !== null && Number(after) >= state.last_event) {
      return new Response(null, { status: 204 });
    }
    const { client, server } = this.sockets.accept({ kind: 'watch' });
    if (after === null) {
      sendFrame(server, { event: 'snapshot', id: state.last_event, data: viewOf(state) });
    } else {
      for (const event of this.store.eventsAfter(Number(after))) {
        sendFrame(server, event);
      }
    }
    if (over) {
      close(server, 1000, 'over');
    } else if (this.lastPreview !== null) {
      sendFrame(server, { event: 'preview', data: this.lastPreview });
    }
    return new Response(null, { status: 101, webSocket: client });
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

  /** After a crash of the whole process the sockets are gone without a word: the state must not go on believing in one. */
  private noticeLostChannel(): void {
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

const refusalOf = (reply: Reply): Refusal => (reply === 'claimed_elsewhere' ? 'claimed_elsewhere' : 'over');

function parseFrame(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
