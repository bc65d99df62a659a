import type { Cancel, Clock } from '../clock.ts';
import type { FaultBook } from '../core/faults.ts';
import type { Report } from '../core/endpoint-event.ts';
import { WEBHOOK_ANSWER_MS, WEBHOOK_RETRY_MS, WEBHOOK_TRIES } from '../limits.ts';

/** One POST. Resolves with the status it was answered with; rejects if it was not answered. */
export type Post = (url: string, body: string, signal: AbortSignal) => Promise<number>;

/** POSTs over the network, without following redirects (only a 200 counts). */
export const postByFetch: Post = async (url, body, signal) => {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    redirect: 'manual',
    signal,
  });
  await response.body?.cancel();
  return response.status;
};

interface Delivery {
  endpoint: string;
  job: string;
  url: string;
  body: string;
  report: Report;
}

/**
 * Delivers completion webhooks by RunPod's rule: a POST that must be answered 200, up to two more tries ten
 * seconds apart, then never again. Faults from the book are met here.
 */
export class Webhooks {
  readonly #clock: Clock;
  readonly #faults: FaultBook;
  readonly #post: Post;
  readonly #closing = new AbortController();
  readonly #later = new Set<Cancel>();
  #held: { size: number; deliveries: Delivery[] } | null = null;

  constructor(clock: Clock, faults: FaultBook, post: Post) {
    this.#clock = clock;
    this.#faults = faults;
    this.#post = post;
  }

  /** Starts one delivery, with the fault that applies to it. */
  send(delivery: Delivery): void {
    const { endpoint, job, report } = delivery;
    if (this.#held !== null) {
      this.#hold(this.#held, delivery);
      return;
    }
    const fault = this.#faults.forWebhook({ endpoint, job });
    if (fault !== null) {
      report({ type: 'fault_used', fault: fault.id, operation: 'webhook' });
    }
    switch (fault?.action) {
      case undefined:
        this.#start(delivery);
        break;
      case 'lose':
        report({ type: 'webhook_lost', job });
        break;
      case 'delay':
        report({ type: 'webhook_held', job, fault: 'delay' });
        this.#after(fault.delay_ms, () => this.#start(delivery));
        break;
      case 'repeat':
        this.#repeat(delivery, fault.copies + 1);
        break;
      case 'reorder':
        this.#held = { size: fault.size, deliveries: [] };
        this.#hold(this.#held, delivery);
        break;
    }
  }

  /** Lets go of what a reorder fault holds back, in the order it came. */
  release(): void {
    const held = this.#held?.deliveries ?? [];
    this.#held = null;
    void this.#oneByOne(held);
  }

  /** Stops every delivery that is under way. */
  close(): void {
    this.#closing.abort();
    for (const cancel of this.#later) {
      cancel();
    }
  }

  #after(delayMs: number, run: () => void): void {
    const cancel = this.#clock.schedule(delayMs, () => {
      this.#later.delete(cancel);
      run();
    });
    this.#later.add(cancel);
  }

  /** Keeps a delivery back until as many have come as the fault wants, then lets them go last first, one by one. */
  #hold(held: { size: number; deliveries: Delivery[] }, delivery: Delivery): void {
    held.deliveries.push(delivery);
    delivery.report({ type: 'webhook_held', job: delivery.job, fault: 'reorder' });
    if (held.deliveries.length >= held.size) {
      this.#held = null;
      void this.#oneByOne(held.deliveries.toReversed());
    }
  }

  async #oneByOne(deliveries: readonly Delivery[]): Promise<void> {
    for (const delivery of deliveries) {
      await this.#attempt(delivery, 1);
    }
  }

  #repeat(delivery: Delivery, copies: number): void {
    void this.#oneByOne(Array.from({ length: copies }, () => delivery));
  }

  #start(delivery: Delivery): void {
    void this.#attempt(delivery, 1);
  }

  /** One try; a failed one arranges the next. Resolves when this try is over. */
  async #attempt(delivery: Delivery, attempt: number): Promise<void> {
    if (this.#closing.signal.aborted) {
      return;
    }
    const { job, report } = delivery;
    const failure = await this.#tryOnce(delivery, attempt);
    if (failure === null || this.#closing.signal.aborted) {
      return;
    }
    report({ type: 'webhook_failed', job, attempt, reason: failure });
    if (attempt >= WEBHOOK_TRIES) {
      report({ type: 'webhook_given_up', job });
      return;
    }
    this.#after(WEBHOOK_RETRY_MS, () => void this.#attempt(delivery, attempt + 1));
  }

  /** Null if it was answered 200, else what went wrong. */
  async #tryOnce(delivery: Delivery, attempt: number): Promise<string | null> {
    const timeout = new AbortController();
    const stopTimer = this.#clock.schedule(WEBHOOK_ANSWER_MS, () => timeout.abort());
    try {
      const signal = AbortSignal.any([timeout.signal, this.#closing.signal]);
      const status = await this.#post(delivery.url, delivery.body, signal);
      if (status !== 200) {
        return `answered ${status}`;
      }
      delivery.report({ type: 'webhook_sent', job: delivery.job, attempt, status });
      return null;
    } catch (error) {
      return timeout.signal.aborted ? 'no answer in time' : `not reachable: ${String(error)}`;
    } finally {
      stopTimer();
    }
  }
}
