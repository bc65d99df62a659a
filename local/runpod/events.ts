import type { Cancel, Clock } from './clock.ts';
import type { EndpointEvent } from './core/endpoint-event.ts';

/** One numbered entry of the platform's log. `at` is milliseconds since the epoch. */
export type PlatformEvent = EndpointEvent & { n: number; at: number; endpoint: string };

/** Number of stored entries; older ones are dropped. */
const KEPT = 20_000;

/** Selects entries. A missing field matches any. */
export interface EventFilter {
  after: number;
  type?: string | undefined;
  endpoint?: string | undefined;
  job?: string | undefined;
  worker?: string | undefined;
}

/** All events in order, numbered from 1. Readers can wait for more. */
export class EventLog {
  readonly #clock: Clock;
  #events: PlatformEvent[] = [];
  #last = 0;
  readonly #listeners = new Set<(event: PlatformEvent) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The number of the newest entry; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  append(endpoint: string, happening: EndpointEvent): void {
    this.#last += 1;
    const event = { ...happening, n: this.#last, at: this.#clock.now(), endpoint };
    this.#events.push(event);
    if (this.#events.length > KEPT) {
      this.#events = this.#events.slice(-KEPT / 2);
    }
    for (const listener of this.#listeners) {
      listener(event);
    }
  }

  /** Calls `listener` with every new entry until the returned function is called. */
  listen(listener: (event: PlatformEvent) => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  find(filter: EventFilter): PlatformEvent[] {
    return this.#events.filter((event) => fits(event, filter));
  }

  /** Returns the matching entries. Without one, waits up to `waitMs` for the first. */
  async wait(filter: EventFilter, waitMs: number, signal?: AbortSignal): Promise<PlatformEvent[]> {
    if (this.find(filter).length === 0 && waitMs > 0) {
      await this.until((event) => fits(event, filter), waitMs, signal);
    }
    return this.find(filter);
  }

  /** Resolves true at the next matching entry, false after `waitMs` or when `signal` aborts. */
  until(wanted: (event: PlatformEvent) => boolean, waitMs: number, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (met: boolean): void => {
        stopListening();
        stopTimer();
        signal?.removeEventListener('abort', onAbort);
        resolve(met);
      };
      const onAbort = (): void => end(false);
      const stopListening = this.listen((event) => {
        if (wanted(event)) {
          end(true);
        }
      });
      const stopTimer = this.#clock.schedule(waitMs, () => end(false));
      signal?.addEventListener('abort', onAbort);
      if (signal?.aborted === true) {
        end(false);
      }
    });
  }
}

function fits(event: PlatformEvent, filter: EventFilter): boolean {
  return (
    event.n > filter.after &&
    (filter.type === undefined || event.type === filter.type) &&
    (filter.endpoint === undefined || event.endpoint === filter.endpoint) &&
    (filter.job === undefined || ('job' in event && event.job === filter.job)) &&
    (filter.worker === undefined || ('worker' in event && event.worker === filter.worker))
  );
}
