import type { Effect, Signal } from '../../domain/job/signals.ts';
import type { EffectOutcome, OutwardEffect } from './effects.ts';
import type { DueEffect } from './pending.ts';
import type { JobStore } from './store.ts';

/**
 * How long an effect may take before the alarm checks whether it is still in progress. Longer than any timeout inside
 * an effect, except for moving results, which are then found to be in progress.
 */
const LEASE_MS = 30_000;
/**
 * An effect that takes longer is retried, because a call of a database or an object may never return. Every effect is
 * safe to repeat except `send`, which has time limits of its own, like moving results.
 */
export const EFFECT_LIMIT_MS = 60_000;
/** The first wait before a retry. It doubles up to `RETRY_MAX_MS`. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 60_000;

/** What the outbox takes from the Job object that owns it. */
export type OutboxParts = {
  store: Pick<JobStore, 'pending' | 'flush'>;
  /** Whether the machine still needs a pending effect. */
  isRelevant: (effect: Effect, now: number) => boolean;
  /** Carries out one effect. Never throws. */
  perform: (effect: OutwardEffect, now: number) => Promise<EffectOutcome>;
  /** Gives a signal to the machine. */
  onSignal: (signal: Signal) => void;
  /** Whether the object will store its state before it can hibernate, so that `run` need not. */
  willStoreSoon: () => boolean;
};

/** The effects that this instance has begun, and the signals that the machine gets first. */
export type Begun = { effects: readonly DueEffect[]; signals: readonly Signal[] };

/**
 * Carries out the effects that the machine left in the store: each at least once while the machine needs it, and none
 * twice at a time. An effect that is requested again while it is in progress is repeated afterwards. After a crash, a
 * lease makes an interrupted effect due again.
 *
 * `send` is the exception: `/run` is never called twice for one attempt. That it began is stored before the call, and a
 * new instance that finds it begun reports an unknown outcome (`run_unknown`).
 */
export class Outbox {
  private readonly parts: OutboxParts;
  /** Effects in progress in this instance. A restart forgets them, and their lease makes them due again. */
  private readonly inFlight = new Set<string>();

  constructor(parts: OutboxParts) {
    this.parts = parts;
  }

  /**
   * Begins every due effect, in memory only. The caller stores the state, because that a `send` began must survive this
   * instance, and then calls `run`, or `cancelBegin` when storing failed.
   */
  begin(now: number, wanted = this.parts.isRelevant): Begun {
    const { pending } = this.parts.store;
    const effects: DueEffect[] = [];
    const signals: Signal[] = [];
    for (const due of pending.due(now)) {
      if (this.inFlight.has(due.key)) {
        // In progress: it takes longer than its lease, or was requested again.
        pending.lease(due.key, now + LEASE_MS);
      } else if (!wanted(due.effect, now)) {
        pending.done(due, now);
      } else if (due.effect.kind === 'send' && due.started) {
        // An earlier instance ended during `/run`, so it is unknown whether RunPod accepted the run.
        pending.done(due, now);
        signals.push({ kind: 'run_unknown', attempt: due.effect.attempt });
      } else {
        this.inFlight.add(due.key);
        pending.lease(due.key, now + LEASE_MS);
        effects.push(due);
      }
    }
    return { effects, signals };
  }

  /** Undoes `begin`, after the state could not be stored. */
  cancelBegin({ effects }: Begun): void {
    for (const { key } of effects) {
      this.inFlight.delete(key);
    }
  }

  /**
   * Carries out the begun effects. All are in progress before the first await, so that an alarm that is set right after
   * the call does not find them due.
   */
  async run({ effects, signals }: Begun, now: number): Promise<void> {
    const { store, onSignal, willStoreSoon } = this.parts;
    const work = effects.map((effect) => this.carryOut(effect, now));
    for (const signal of signals) {
      onSignal(signal);
    }
    await Promise.all(work);
    if (!willStoreSoon()) {
      // One write for all finished effects. An effect whose end a crash left unstored is repeated.
      store.flush();
    }
    // Effects that were requested again while they were in progress.
    const next = store.pending.nextDue();
    if (next !== null && next <= Date.now()) {
      await this.drain(Date.now());
    }
  }

  /** Begins every due effect, stores that, and carries them out. */
  async drain(now: number): Promise<void> {
    const begun = this.begin(now);
    try {
      this.parts.store.flush();
    } catch (error) {
      this.cancelBegin(begun);
      throw error;
    }
    await this.run(begun, now);
  }

  private async carryOut(due: DueEffect, now: number): Promise<void> {
    const { store, perform, onSignal } = this.parts;
    const { key, effect, tries } = due;
    if (effect.kind === 'stop_worker') {
      // Sent at once and never stored: a worker that is not connected gets it when it connects.
      return;
    }
    const outcome = await (effect.kind === 'send' || effect.kind === 'fetch_result'
      ? perform(effect, now)
      : within(EFFECT_LIMIT_MS, perform(effect, now)));
    this.inFlight.delete(key);
    const later = Date.now();
    if (outcome.kind === 'retry') {
      store.pending.scheduleRetry(key, later + Math.min(RETRY_MS * 2 ** tries, RETRY_MAX_MS));
      return;
    }
    store.pending.done(due, later);
    if (outcome.kind === 'signal') {
      onSignal(outcome.signal);
    }
  }
}

/** The outcome of the work, or a retry when it takes longer than `limit_ms`. */
async function within(limit_ms: number, work: Promise<EffectOutcome>): Promise<EffectOutcome> {
  const { promise, resolve } = Promise.withResolvers<EffectOutcome>();
  const timer = setTimeout(() => resolve({ kind: 'retry' }), limit_ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    // A running timer would keep the object awake and billed.
    clearTimeout(timer);
  }
}
