/** A waiting job asks again after its wait. One that has not asked after twice that time is no longer counted. */
const FORGET_AFTER = 2;
/** The most jobs that are counted. */
const MAX_COUNTED = 10_000;
/** Waits of jobs are spread by this step, so that the first to ask decides for the rest. */
const STEP_MS = 100;
/** The most jobs per step in a long backlog; a short one is spread over `MIN_STEPS`. */
const PER_STEP = 5;
const MIN_STEPS = 20;

/** The jobs that wait for one endpoint. An approximate count, on the heap only. */
export class Backlog {
  private readonly jobs = new Map<string, number>();
  private added = 0;

  /** Adds a job, and returns its wait in ms: the given one plus its step. */
  add(job: string, wait_ms: number, now: number): number {
    this.added += 1;
    const steps = Math.max(MIN_STEPS, Math.ceil(this.jobs.size / PER_STEP));
    const spread = wait_ms + (this.added % steps) * STEP_MS;
    if (this.jobs.has(job) || this.jobs.size < MAX_COUNTED) {
      this.jobs.set(job, now + spread * FORGET_AFTER);
    }
    return spread;
  }

  remove(job: string): void {
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
