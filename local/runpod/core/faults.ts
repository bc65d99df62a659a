/** A fault of a webhook delivery. */
export type WebhookFault =
  | { kind: 'webhook'; action: 'lose' }
  | { kind: 'webhook'; action: 'delay'; delay_ms: number }
  | { kind: 'webhook'; action: 'repeat'; copies: number }
  | { kind: 'webhook'; action: 'reorder'; size: number };

/** A fault of a call of the client or worker API. */
export type CallFault =
  /** The call gets this status and has no effect. */
  | { kind: 'answer'; operation: string; status: number }
  /** The connection is cut before or after the call has its effect. */
  | { kind: 'drop'; operation: string; when: 'before' | 'after' }
  /** The call has its effect, but is answered only after `hang_ms`. */
  | { kind: 'hang'; operation: string; hang_ms: number };

/** A fault that applies to the next `times` matching calls or webhooks. */
export type Fault = (WebhookFault | CallFault) & {
  id: string;
  endpoint: string | null;
  job: string | null;
  /** Matching calls that pass before the fault applies. */
  skip: number;
  times: number;
};

type Subject = { endpoint: string; job: string | null };

/** The pending faults. Each one is removed when it has applied. */
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

  /** The fault that applies to a webhook of this job, if any. */
  forWebhook(subject: Subject): (WebhookFault & Fault) | null {
    return this.#meet(subject, (fault): fault is WebhookFault & Fault => fault.kind === 'webhook');
  }

  /** The fault that applies to a call of this operation, if any. */
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
