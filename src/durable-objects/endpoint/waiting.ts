/** Told to wait, a job asks again at its time; one that did not by twice its wait has gone. */
const GONE_AFTER = 2;
/** Jobs beyond this many are not counted one by one; their number says enough. */
const MAX_COUNTED = 10_000;
/** Jobs that were told the same moment come one after the other: the first decides for the rest. */
const STEP_MS = 100;
/** So many come at one step at most while the line is long; a short line spreads over `MIN_STEPS`. */
const PER_STEP = 5;
const MIN_STEPS = 20;

/** The jobs that were told to wait for one endpoint. A count to go by, not a record: it lives on the heap. */
export class Waiting {
  private readonly jobs = new Map<string, number>();
  private told = 0;

  /** Notes a job, and gives its wait in ms: the one asked for, spread a little. */
  wait(job: string, wait_ms: number, now: number): number {
    this.told += 1;
    const steps = Math.max(MIN_STEPS, Math.ceil(this.jobs.size / PER_STEP));
    const spread = wait_ms + (this.told % steps) * STEP_MS;
    if (this.jobs.has(job) || this.jobs.size < MAX_COUNTED) {
      this.jobs.set(job, now + spread * GONE_AFTER);
    }
    return spread;
  }

  leave(job: string): void {
    this.jobs.delete(job);
  }

  count(now: number): number {
    for (const [job, until] of this.jobs) {
      if (now > until) {
        this.jobs.delete(job);
      }
    }
    return this.jobs.size;
  }
}
