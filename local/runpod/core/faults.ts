/** What a webhook delivery can be made to suffer. */
export type WebhookFault =
  | { kind: 'webhook'; action: 'lose' }
  | { kind: 'webhook'; action: 'delay'; delay_ms: number }
  | { kind: 'webhook'; action: 'repeat'; copies: number }
  | { kind: 'webhook'; action: 'reorder'; size: number };

/** What a call of the client or worker API can be made to suffer. */
export type CallFault =
  /** Answered with this status before anything is done. */
  | { kind: 'answer'; operation: string; status: number }
  /** The connection is cut: before anything is done, or after the platform did what was asked. */
  | { kind: 'drop'; operation: string; when: 'before' | 'after' }
  /** Done, but the answer comes only after `hang_ms` (a client with a shorter timeout never sees it). */
  | { kind: 'hang'; operation: string; hang_ms: number };

/** A fault to be met by the next `times` calls or webhooks that fit. */
export type Fault = (WebhookFault | CallFault) & {
  id: string;
  endpoint: string | null;
  job: string | null;
  /** How many are let through unharmed first. */
  skip: number;
  times: number;
};

type Subject = { endpoint: string; job: string | null };

/** The faults that are waiting to be met. Each one is used up by meeting it. */
export class FaultBook {
  #faults: Fault[] = [];

  add(fault: Fault): void {
    this.#faults.push(fault);
  }

  all(): readonly Fault[] {
    return this.#faults;
  }

  clear(): void {
    this.#faults = [];
  }

  /** The fault a webhook of this job meets, if any. */
  forWebhook(subject: Subject): (WebhookFault & Fault) | null {
    return this.#meet(subject, (fault): fault is WebhookFault & Fault => fault.kind === 'webhook');
  }

  /** The fault a call of this operation meets, if any. */
  forCall(operation: string, subject: Subject): (CallFault & Fault) | null {
    return this.#meet(
      subject,
      (fault): fault is CallFault & Fault => fault.kind !== 'webhook' && fault.operation === operation,
    );
  }

  #meet<F extends Fault>(subject: Subject, fits: (fault: Fault) => fault is F): F | null {
    for (const fault of this.#faults) {
      const meant =
        (fault.endpoint === null || fault.endpoint === subject.endpoint) &&
        (fault.job === null || fault.job === subject.job);
      if (!meant || !fits(fault)) {
        continue;
      }
      if (fault.skip > 0) {
        fault.skip -= 1;
        continue;
      }
      fault.times -= 1;
      if (fault.times <= 0) {
        this.#faults = this.#faults.filter((other) => other !== fault);
      }
      return fault;
    }
    return null;
  }
}
