import type { Effect, Signal } from '../../core/job/signals.ts';
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
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 60_000;

/** What the outbox takes from the Job object that owns it. */
export type OutboxParts = {
  store: Pick<JobStore, 'pending' | 'flush'>;
  /** Whether the machine still wants an effect that waited. */
  wanted: (effect: Effect, now: number) => boolean;
  /** Does one effect. Answers with a value whatever happens. */
  perform: (effect: OutwardEffect, now: number) => Promise<EffectOutcome>;
  /** Gives a signal to the machine. */
  tell: (signal: Signal) => void;
};

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
   * Begins every effect that is due and waits for their end. Everything up to the leases happens before the first await, so
   * that an alarm set right after the call finds nothing left that is due at once.
   */
  async drain(now: number): Promise<void> {
    const { store, wanted, tell } = this.parts;
    const begun: DueEffect[] = [];
    const signals: Signal[] = [];
    for (const due of store.pending.due(now)) {
      if (this.inFlight.has(due.key)) {
        // Slower than its lease, or asked for again: due, but not to be begun.
        store.pending.lease(due.key, now + LEASE_MS);
      } else if (!wanted(due.effect, now)) {
        store.pending.done(due, now);
      } else if (due.effect.kind === 'send' && due.started) {
        // `/run` was being called when an earlier instance ended: whether RunPod took it nobody knows.
        store.pending.done(due, now);
        signals.push({ kind: 'run_unknown', attempt: due.effect.attempt });
      } else {
        this.inFlight.add(due.key);
        store.pending.lease(due.key, now + LEASE_MS);
        begun.push(due);
      }
    }
    try {
      // Before anything is begun: that a `send` was begun must outlive this instance.
      store.flush();
    } catch (error) {
      for (const { key } of begun) {
        this.inFlight.delete(key);
      }
      throw error;
    }
    const work = begun.map((row) => this.carryOut(row, now));
    for (const signal of signals) {
      tell(signal);
    }
    await Promise.all(work);
    // Once for all that was done meanwhile; what goes unstored by a crash is done again.
    store.flush();
    // What was wanted again while it was being done.
    const next = store.pending.nextDue();
    if (next !== null && next <= Date.now()) {
      await this.drain(Date.now());
    }
  }

  private async carryOut(due: DueEffect, now: number): Promise<void> {
    const { store, perform, tell } = this.parts;
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
      store.pending.again(key, later + Math.min(AGAIN_MS * 2 ** tries, AGAIN_MAX_MS));
      return;
    }
    store.pending.done(due, later);
    if (outcome.kind === 'signal') {
      tell(outcome.signal);
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
