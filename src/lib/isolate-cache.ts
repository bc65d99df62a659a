/**
 * A cache in the memory of one isolate. Every isolate has its own, and an isolate can end at any time, so an entry
 * saves work and is never the only copy. When the cache is full, the oldest entry is removed first.
 */
export class IsolateCache<Key, Value> {
  private readonly entries = new Map<Key, { value: Value; at: number; until: number }>();
  private readonly maxEntries: number;
  private readonly ttlMs: number;

  /** @param ttlMs how long an entry is valid; without end where it is not given */
  constructor({ maxEntries, ttlMs = Infinity }: { maxEntries: number; ttlMs?: number }) {
    this.maxEntries = maxEntries;
    this.ttlMs = ttlMs;
    caches.add(this);
  }

  /**
   * The value, while it is valid. A clock that was set back makes no entry valid for longer.
   * @param maxAgeMs the greatest age that the caller accepts, where that is less than `ttlMs`
   */
  get(key: Key, now: number, maxAgeMs = Infinity): Value | undefined {
    const entry = this.entries.get(key);
    return entry !== undefined && now >= entry.at && now < entry.until && now < entry.at + maxAgeMs
      ? entry.value
      : undefined;
  }

  /** @param until when the value ends, where that is before `ttlMs` */
  set(key: Key, value: Value, now: number, until = Infinity): void {
    this.entries.delete(key);
    if (this.entries.size >= this.maxEntries) {
      const oldest = this.entries.keys().next();
      if (oldest.done === false) {
        this.entries.delete(oldest.value);
      }
    }
    this.entries.set(key, { value, at: now, until: Math.min(now + this.ttlMs, until) });
  }

  delete(key: Key): void {
    this.entries.delete(key);
  }

  /** Removes every value that matches. */
  deleteWhere(matches: (value: Value) => boolean): void {
    for (const [key, { value }] of this.entries) {
      if (matches(value)) {
        this.entries.delete(key);
      }
    }
  }

  clear(): void {
    this.entries.clear();
  }
}

/** Every cache of this isolate. A cache is a constant of its module, so this set does not grow. */
const caches = new Set<{ clear: () => void }>();

/** Empties every cache, for a test that must not see what another has read. */
export function clearIsolateCaches(): void {
  for (const cache of caches) {
    cache.clear();
  }
}
