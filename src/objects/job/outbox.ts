import type { Effect, Signal } from '../../core/job/signals.ts';
import type { EffectOutcome, OutwardEffect } from './effects.ts';
import type { JobStore, OutboxRow } from './store.ts';

/**
 * How long an effect may take before the alarm looks whether anybody still does it. Longer than any timeout inside an effect but the
 * moving of results, which is found to be in flight then.
 */
const LEASE_MS = 30_000;
/** First wait before an effect is tried again; doubles up to the last. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 60_000;

/** What the outbox takes from the Job object that owns it. */
export type OutboxParts = {
  store: JobStore;
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
    const begun: OutboxRow[] = [];
    const signals: Signal[] = [];
    for (const row of store.due(now)) {
      if (this.inFlight.has(row.key)) {
        // Slower than its lease, or asked for again: due, but not to be begun.
        store.lease(row.key, now + LEASE_MS);
      } else if (!wanted(row.effect, now)) {
        store.done(row, now);
      } else if (row.effect.kind === 'send' && row.started) {
        // `/run` was being called when an earlier instance ended: whether RunPod took it nobody knows.
        store.done(row, now);
        signals.push({ kind: 'run_unknown', attempt: row.effect.attempt });
      } else {
        this.inFlight.add(row.key);
        store.lease(row.key, now + LEASE_MS);
        begun.push(row);
      }
    }
    const work = begun.map((row) => this.carryOut(row, now));
    for (const signal of signals) {
      tell(signal);
    }
    await Promise.all(work);
    // What was wanted again while it was being done.
    const next = store.exists() ? store.nextDue() : null;
    if (next !== null && next <= Date.now()) {
      await this.drain(Date.now());
    }
  }

  private async carryOut(row: OutboxRow, now: number): Promise<void> {
    const { store, perform, tell } = this.parts;
    if (row.effect.kind === 'stop_worker') {
      // Said on the spot, never stored: a worker that is not connected is told when it connects.
      return;
    }
    const outcome = await perform(row.effect, now);
    this.inFlight.delete(row.key);
    const later = Date.now();
    if (outcome.kind === 'again') {
      store.again(row.key, later + Math.min(AGAIN_MS * 2 ** row.tries, AGAIN_MAX_MS));
      return;
    }
    store.done(row, later);
    if (outcome.kind === 'signal') {
      tell(outcome.signal);
    }
  }
}
