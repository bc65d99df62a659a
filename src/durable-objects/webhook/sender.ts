import type { AttemptOutcome } from '../../contract/webhook.ts';
import { isDelivered, nextOf, type Answer } from '../../domain/webhook/schedule.ts';
import { post } from './post.ts';
import type { DueDelivery, WebhookState, WebhookStore } from './store.ts';

/** Concurrent attempts: one connection fewer than an invocation may wait on (reference/cloudflare.md section 4). */
const AT_ONCE = 5;
/** How long an attempt may take before it counts as dropped. Longer than its timeout. */
const LEASE_MS = 30_000;

/** What the sender takes from the Webhook object that owns it. */
export type SenderParts = {
  store: WebhookStore;
  /** The webhook as it is now; null once it was erased. */
  webhook: () => WebhookState | null;
  /** The gateway's own origin. */
  gateway: () => string;
  /** Called with every answer, and with the URL that gave it. */
  onAttempt: (answer: Answer, sent: { url: string }) => void;
};

/**
 * Sends the due deliveries: each at least once, none twice at a time, at most `AT_ONCE` at a time. A lease makes a
 * delivery due again after a crash.
 */
export class Sender {
  private readonly parts: SenderParts;
  /** Deliveries being sent right now by this instance; a restart forgets them, and their lease brings them back. */
  private readonly inFlight = new Set<string>();

  constructor(parts: SenderParts) {
    this.parts = parts;
  }

  /** Begins due deliveries while fewer than `AT_ONCE` are being sent. Synchronous up to the leases. */
  begin(): Promise<void>[] {
    const { store } = this.parts;
    const webhook = this.parts.webhook();
    const now = Date.now();
    if (webhook?.enabled !== true || now < (webhook.health.held_until ?? 0)) {
      return [];
    }
    const gateway = this.parts.gateway();
    const begun: DueDelivery[] = [];
    for (const row of store.due(now, AT_ONCE + this.inFlight.size)) {
      if (this.inFlight.has(row.id)) {
        // It takes longer than its lease.
        store.lease(row.id, now + LEASE_MS);
      } else if (this.inFlight.size < AT_ONCE) {
        this.inFlight.add(row.id);
        store.lease(row.id, now + LEASE_MS);
        begun.push(row);
      }
    }
    return begun.map((row) => this.attempt({ url: webhook.url, secrets: webhook.secrets, gateway }, row));
  }

  private async attempt(to: Parameters<typeof post>[0], row: DueDelivery): Promise<void> {
    const { store, webhook, onAttempt } = this.parts;
    const started = Date.now();
    const answer = await post(to, row, started).finally(() => this.inFlight.delete(row.id));
    if (webhook() === null) {
      return;
    }
    const now = Date.now();
    const attempt = {
      at: started,
      duration_ms: now - started,
      outcome: outcomeOf(answer),
      response_status: answer.kind === 'status' ? answer.status : null,
    };
    store.record(row.id, attempt, nextOf(row.type, row.tries + 1, answer, now, Math.random()));
    onAttempt(answer, to);
    await Promise.all(this.begin());
  }
}

const outcomeOf = (answer: Answer): AttemptOutcome => {
  if (answer.kind !== 'status') {
    return answer.kind;
  }
  return isDelivered(answer) ? 'delivered' : 'rejected';
};
