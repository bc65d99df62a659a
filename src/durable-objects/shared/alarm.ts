import { errorMessage } from '../../lib/error-message.ts';
import { consoleLog } from '../../providers/log.ts';

/**
 * How long after a failure the alarm rings again. The platform itself would try six times and then never again
 * (reference/cloudflare.md section 2).
 */
const RETRY_MS = 60_000;

/**
 * The one alarm of an object. It knows what this instance has set the alarm to, so that it writes no time twice: a
 * write costs more than a call.
 */
export class Alarm {
  private readonly storage: DurableObjectStorage;
  /** What the alarm is set to, as far as this instance knows; null: unknown. */
  private known: number | null = null;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
  }

  get at(): number | null {
    return this.known;
  }

  /** Has the alarm ring at this time or earlier. One that rings too early finds nothing due and sets the next. */
  setBy(at: number): void {
    if (this.known === null || at < this.known) {
      this.write(at);
    }
  }

  /** Has the alarm ring at this time. */
  setAt(at: number): void {
    if (at !== this.known) {
      this.write(at);
    }
  }

  /** The object's storage was deleted, and the alarm with it. */
  clear(): void {
    this.known = null;
  }

  /**
   * Does what the alarm rang for. A failure is logged, and the alarm rings again after `RETRY_MS`.
   * @param subject which object this is, for the log
   */
  async run(subject: Record<string, string>, work: () => Promise<void>): Promise<void> {
    this.known = null;
    try {
      await work();
    } catch (error) {
      consoleLog({ event: 'alarm_failed', ...subject, detail: errorMessage(error) });
      this.write(Date.now() + RETRY_MS);
    }
  }

  private write(at: number): void {
    this.known = at;
    void this.storage.setAlarm(at);
  }
}
