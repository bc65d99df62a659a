import type { Effect } from '../../domain/job/signals.ts';

/** An effect still to be done, as it is stored. `tries`: how often it failed. `started`: an attempt to do it began; only `send` minds. */
export type PendingEffect = { effect: Effect; due_at: number; tries: number; started: boolean };

/** What the outbox calls an effect: repeating an effect that still waits adds nothing. */
export function outboxKey(effect: Effect): string {
  if (effect.kind === 'notify') {
    return `${effect.kind}:${effect.sequence}`;
  }
  return 'attempt' in effect ? `${effect.kind}:${effect.attempt}` : effect.kind;
}

/** An effect that is due. `wanted`: how often it was asked for until now. */
export type DueEffect = Readonly<PendingEffect> & { key: string; requests: number };

type Entry = PendingEffect & {
  requests: number;
  /** It is being done by this instance, and counts as dropped at this time; a new instance knows of none and does it again. */
  leased_until: number | null;
};

/** The effects of a job that are still to be done, at most one of each key. Kept in memory; the store writes it with the state. */
export class Pending {
  private readonly entries = new Map<string, Entry>();
  /** Whether it differs from what is stored. */
  changed = false;

  constructor(stored: readonly PendingEffect[]) {
    for (const effect of stored) {
      this.entries.set(outboxKey(effect.effect), { ...effect, requests: 1, leased_until: null });
    }
  }

  keys(): string[] {
    return [...this.entries.keys()];
  }

  /** Whether anybody is still to be told of the job; RunPod's knowing that a run is canceled is no such thing. */
  hasPendingNotifications(): boolean {
    return [...this.entries.values()].some(({ effect }) => effect.kind !== 'cancel_run');
  }

  /** One that is being done may be wanted again: `done` sees that it was asked for once more. */
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

  /** What is due, the longest waiting first. */
  due(now: number): DueEffect[] {
    return [...this.entries]
      .filter(([, entry]) => dueAt(entry) <= now)
      .map(([key, { effect, due_at, tries, started, requests }]) => ({ key, effect, due_at, tries, started, requests }))
      .toSorted((a, b) => a.due_at - b.due_at || (a.key < b.key ? -1 : 1));
  }

  /** When the next effect is due; null when none waits. */
  nextDue(): number | null {
    return this.entries.size === 0 ? null : Math.min(...[...this.entries.values()].map(dueAt));
  }

  /**
   * An effect is being done: if nothing is heard of it by `until`, it is due again. Nothing of this is stored but that a `send` began:
   * all others may be begun again by an instance that knows nothing of it.
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

  /** An effect could not be done; it is due again then. */
  scheduleRetry(key: string, due_at: number): void {
    const entry = this.entries.get(key);
    if (entry !== undefined) {
      Object.assign(entry, { due_at, tries: entry.tries + 1, leased_until: null });
      this.changed = true;
    }
  }

  /** An effect is done. Asked for again in the meantime, it is due at once; what was done may have been too early. */
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

  /** As JSON, to be stored now. */
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
