import type { Effect } from '../../domain/job/signals.ts';

/**
 * A pending effect as it is stored. `tries`: how often it failed. `started`: it was begun, which matters for `send`
 * only.
 */
export type PendingEffect = { effect: Effect; due_at: number; tries: number; started: boolean };

/** The key of an effect. Adding an effect whose key is pending changes nothing but its due time. */
export function outboxKey(effect: Effect): string {
  if (effect.kind === 'notify') {
    return `${effect.kind}:${effect.sequence}`;
  }
  return 'attempt' in effect ? `${effect.kind}:${effect.attempt}` : effect.kind;
}

/** A due effect. `requests`: how often it was added until now. */
export type DueEffect = Readonly<PendingEffect> & { key: string; requests: number };

type Entry = PendingEffect & {
  requests: number;
  /**
   * This instance carries the effect out, and it is due again at this time. Not stored, so a new instance repeats it.
   */
  leased_until: number | null;
};

/** The pending effects of a job, at most one of each key. In memory; the store writes them with the state. */
export class Pending {
  private readonly entries = new Map<string, Entry>();
  /** Whether memory differs from storage. */
  changed = false;

  constructor(stored: readonly PendingEffect[]) {
    for (const effect of stored) {
      this.entries.set(outboxKey(effect.effect), { ...effect, requests: 1, leased_until: null });
    }
  }

  keys(): string[] {
    return [...this.entries.keys()];
  }

  /** Whether an effect other than the cancel of a run is pending. Until then a finished job is not erased. */
  hasPendingNotifications(): boolean {
    return [...this.entries.values()].some(({ effect }) => effect.kind !== 'cancel_run');
  }

  /** Adds an effect, due now. An effect that is in progress becomes due once more after `done`. */
  add(effect: Effect, now: number): void {
    const key = outboxKey(effect);
    const known = this.entries.get(key);
    this.entries.set(key, {
      effect: known?.effect ?? effect,
      due_at: now,
      tries: 0,
      started: known?.started ?? false,
      requests: (known?.requests ?? 0) + 1,
      leased_until: null,
    });
    this.changed = true;
  }

  /** The due effects, the longest waiting first. */
  due(now: number): DueEffect[] {
    return [...this.entries]
      .filter(([, entry]) => dueAt(entry) <= now)
      .map(([key, { effect, due_at, tries, started, requests }]) => ({ key, effect, due_at, tries, started, requests }))
      .toSorted((a, b) => a.due_at - b.due_at || (a.key < b.key ? -1 : 1));
  }

  /** When the next effect is due; null without pending effects. */
  nextDue(): number | null {
    return this.entries.size === 0 ? null : Math.min(...[...this.entries.values()].map(dueAt));
  }

  /**
   * Leases an effect that is being carried out. It is due again at `until`. Only for `send` is this stored, since a new
   * instance may repeat any other effect.
   */
  lease(key: string, until: number): void {
    const entry = this.entries.get(key);
    if (entry === undefined) {
      return;
    }
    entry.leased_until = until;
    if (entry.effect.kind === 'send' && !entry.started) {
      entry.started = true;
      this.changed = true;
    }
  }

  /** Makes a failed effect due again at this time. */
  scheduleRetry(key: string, due_at: number): void {
    const entry = this.entries.get(key);
    if (entry !== undefined) {
      Object.assign(entry, { due_at, tries: entry.tries + 1, leased_until: null });
      this.changed = true;
    }
  }

  /**
   * Removes a finished effect. One that was added again in the meantime is due at once, since the job may have changed.
   */
  done({ key, requests }: Pick<DueEffect, 'key' | 'requests'>, now: number): void {
    const entry = this.entries.get(key);
    if (entry === undefined) {
      return;
    }
    if (entry.requests === requests) {
      this.entries.delete(key);
    } else {
      Object.assign(entry, { due_at: now, started: false, leased_until: null });
    }
    this.changed = true;
  }

  /** The effects as JSON for storage. */
  stored(): string {
    this.changed = false;
    return JSON.stringify(
      [...this.entries.values()].map(({ effect, due_at, tries, started }): PendingEffect => ({
        effect,
        due_at,
        tries,
        started,
      })),
    );
  }
}

const dueAt = (entry: Entry): number => entry.leased_until ?? entry.due_at;
