import type { Effect, Signal } from '../../domain/job/signals.ts';
import type { EffectOutcome, OutwardEffect } from './effects.ts';
import type { DueEffect } from './pending.ts';
import type { JobStore } from './store.ts';

/**
 * How long an effect may take before the alarm looks whether anybody still does it. Longer than any timeout inside an effect but the
 * moving of results, which is found to be in flight then.
 */
const LEASE_MS = 30_000;
/**
 * An effect that takes longer is tried again: a call of a database or of an object that never returns would else be waited for until the
 * instance ends. All of them are safe to repeat but a `send`, whose calls have time limits of their own, like the moving of results.
 */
export const EFFECT_LIMIT_MS = 60_000;
/** First wait before an effect is tried again; doubles up to the last. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 60_000;

/** What the outbox takes from the Job object that owns it. */
export type OutboxParts = {
  store: Pick<JobStore, 'pending' | 'flush'>;
  /** Whether the machine still wants an effect that waited. */
  isRelevant: (effect: Effect, now: number) => boolean;
  /** Does one effect. Answers with a value whatever happens. */
  perform: (effect: OutwardEffect, now: number) => Promise<EffectOutcome>;
  /** Gives a signal to the machine. */
  onSignal: (signal: Signal) => void;
  /** Whether the object stores what was done before it can go to sleep, without being made to. */
  willStoreSoon: () => boolean;
};

/** Effects that this instance has begun, and what the machine is to be told first. */
export type Begun = { effects: readonly DueEffect[]; signals: readonly Signal[] };

/**
 * Does the effects that the machine left in the store: each at least once, none twice at a time. An effect wanted again
 * while it is being done is done once more afterwards. A lease brings back what a crash cut off.
 */
export class Outbox {
  private readonly parts: OutboxParts;
  /** Effects being done right now by this instance; a restart forgets them, and their lease brings them back. */
  private readonly inFlight = new Set<string>();

  constructor(parts: OutboxParts) {
    this.parts = parts;
  }

  /**
   * Begins every effect that is due, in memory: that a `send` was begun must outlive this instance, so the caller stores it and then
   * calls `run`, or `takeBack` where it could not be stored.
   */
  begin(now: number, wanted = this.parts.isRelevant): Begun {
    const { pending } = this.parts.store;
    const effects: DueEffect[] = [];
    const signals: Signal[] = [];
    for (const due of pending.due(now)) {
      if (this.inFlight.has(due.key)) {
        // Slower than its lease, or asked for again: due, but not to be begun.
        pending.lease(due.key, now + LEASE_MS);
      } else if (!wanted(due.effect, now)) {
        pending.done(due, now);
      } else if (due.effect.kind === 'send' && due.started) {
        // `/run` was being called when an earlier instance ended: whether RunPod took it nobody knows.
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

  /** The beginning could not be stored: nothing was begun. */
  cancelBegin({ effects }: Begun): void {
    for (const { key } of effects) {
      this.inFlight.delete(key);
    }
  }

  /**
   * Does what was begun and waits for its end. All of it is under way before the first await, so that an alarm set right after the call
   * finds nothing left that is due at once.
   */
  async run({ effects, signals }: Begun, now: number): Promise<void> {
    const { store, onSignal, willStoreSoon } = this.parts;
    const work = effects.map((effect) => this.carryOut(effect, now));
    for (const signal of signals) {
      onSignal(signal);
    }
    await Promise.all(work);
    if (!willStoreSoon()) {
      // Once for all that was done meanwhile; what goes unstored by a crash is done again.
      store.flush();
    }
    // What was wanted again while it was being done.
    const next = store.pending.nextDue();
    if (next !== null && next <= Date.now()) {
      await this.drain(Date.now());
    }
  }

  /** Begins every effect that is due, stores that, and does them. */
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
      // Said on the spot, never stored: a worker that is not connected is told when it connects.
      return;
    }
    const outcome = await (effect.kind === 'send' || effect.kind === 'fetch_result'
      ? perform(effect, now)
      : within(EFFECT_LIMIT_MS, perform(effect, now)));
    this.inFlight.delete(key);
    const later = Date.now();
    if (outcome.kind === 'again') {
      store.pending.scheduleRetry(key, later + Math.min(RETRY_MS * 2 ** tries, RETRY_MAX_MS));
      return;
    }
    store.pending.done(due, later);
    if (outcome.kind === 'signal') {
      onSignal(outcome.signal);
    }
  }
}

/** What the work comes to, or `again` when that takes too long. */
async function within(limit_ms: number, work: Promise<EffectOutcome>): Promise<EffectOutcome> {
  const { promise, resolve } = Promise.withResolvers<EffectOutcome>();
  const timer = setTimeout(() => resolve({ kind: 'again' }), limit_ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    // Left running it would keep the object awake, and billed.
    clearTimeout(timer);
  }
}
