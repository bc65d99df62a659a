import type { Report } from './endpoint-event.ts';
import { type FinalStatus, isFinal, newJob, type RunpodJob, type Submission, type WorkerResult } from './job.ts';

/** The rules of an endpoint that concern its jobs. */
export interface JobRules {
  runRetentionMs: number;
  runsyncRetentionMs: number;
  /** Whether the job of a lost worker fails, or how many times it is requeued. */
  onWorkerLost: { action: 'fail' } | { action: 'requeue'; times: number };
  /** True: progress after the end sets the job to IN_PROGRESS again, as runpod-python#250 reports. */
  lateProgressReopens: boolean;
}

/** Totals since the start, as `/health` shows them. */
export interface JobCounts {
  completed: number;
  failed: number;
  retried: number;
}

/**
 * The jobs of one endpoint: queue, running, finished, and every rule that moves a job between them.
 * It has no timers and does no I/O: `now` is a parameter, and events go to `report`.
 */
export class Jobs {
  readonly #rules: JobRules;
  readonly #report: Report;
  readonly #byId = new Map<string, RunpodJob>();
  #queue: RunpodJob[] = [];
  readonly #running = new Map<string, RunpodJob>();
  /** In order of finishing, so the first job of each source expires next. */
  readonly #finished = { run: new Map<string, RunpodJob>(), runsync: new Map<string, RunpodJob>() };
  readonly #counts: JobCounts = { completed: 0, failed: 0, retried: 0 };

  constructor(rules: JobRules, report: Report) {
    this.#rules = rules;
    this.#report = report;
  }

  submit(submission: Submission, now: number): RunpodJob {
    const job = newJob(submission, now);
    this.#byId.set(job.id, job);
    this.#enqueue(job, 'back');
    return job;
  }

  get(id: string): RunpodJob | null {
    return this.#byId.get(id) ?? null;
  }

  all(): RunpodJob[] {
    return [...this.#byId.values()];
  }

  queued(): readonly RunpodJob[] {
    return this.#queue;
  }

  runningCount(): number {
    return this.#running.size;
  }

  counts(): Readonly<JobCounts> {
    return this.#counts;
  }

  /** Assigns up to `count` jobs to a worker, oldest first, low priority last. */
  take(worker: string, count: number, now: number): RunpodJob[] {
    const taken = this.#queue.slice(0, count);
    this.#queue = this.#queue.slice(taken.length);
    for (const job of taken) {
      job.status = 'IN_PROGRESS';
      job.startedAt = now;
      job.worker = worker;
      this.#running.set(job.id, job);
      this.#report({ type: 'job_taken', job: job.id, worker });
    }
    return taken;
  }

  /** Requeues a job whose worker disconnected before it received the job. */
  requeueUndelivered(id: string, worker: string): void {
    const job = this.#running.get(id);
    if (job !== undefined && job.worker === worker) {
      this.#running.delete(id);
      this.#requeue(job, 'front', job.queuedAt);
    }
  }

  /** Ends a job with its worker's result: FAILED with an error, else COMPLETED. */
  finish(id: string, worker: string, result: WorkerResult, now: number): boolean {
    const job = this.#ownedBy(id, worker);
    if (job === null) {
      return false;
    }
    this.#end(job, 'error' in result ? 'FAILED' : 'COMPLETED', result, now);
    return true;
  }

  /** Intermediate output, shown by `/status` while the job runs. */
  progress(id: string, worker: string, output: unknown): void {
    const late = this.#byId.get(id);
    if (this.#rules.lateProgressReopens && late !== undefined && isFinal(late.status) && late.worker === worker) {
      this.#reopen(late, worker, output);
      return;
    }
    const job = this.#ownedBy(id, worker);
    if (job !== null) {
      job.result = { output };
      this.#report({ type: 'job_progress', job: id, worker });
    }
  }

  /** Chunks for `/stream`. */
  chunk(id: string, worker: string, outputs: readonly unknown[]): void {
    const job = this.#ownedBy(id, worker);
    if (job !== null) {
      job.chunks.push(...outputs);
      this.#report({ type: 'job_chunk', job: id, worker });
    }
  }

  /** Returns each chunk once, for `/stream`. */
  drainChunks(job: RunpodJob): unknown[] {
    const { chunks } = job;
    job.chunks = [];
    return chunks;
  }

  /** Cancels an unfinished job. A running one is stopped on its worker. */
  cancel(job: RunpodJob, now: number): void {
    if (!isFinal(job.status)) {
      this.#stopOnWorker(job);
      this.#end(job, 'CANCELLED', job.result, now);
    }
  }

  /** Cancels all queued jobs and returns their number. */
  purge(now: number): number {
    const waiting = [...this.#queue];
    for (const job of waiting) {
      this.cancel(job, now);
    }
    return waiting.length;
  }

  /** Requeues a FAILED or TIMED_OUT job with its id and input, without its output. False for any other. */
  retry(job: RunpodJob, now: number): boolean {
    if (job.status !== 'FAILED' && job.status !== 'TIMED_OUT') {
      return false;
    }
    this.#finished[job.source].delete(job.id);
    job.retries += 1;
    this.#counts.retried += 1;
    // RunPod does not document the TTL of a retry. It starts again here: counted from the submission, it would end an old
    // job immediately.
    job.submittedAt = now;
    this.#requeue(job, 'back', now);
    return true;
  }

  /** Changes the job's TTL, counted from its submission (`/status?ttl=`). */
  setTtl(job: RunpodJob, ttlMs: number): void {
    job.ttlMs = ttlMs;
  }

  /** Fails or requeues the jobs of a lost worker. */
  workerLost(worker: string, why: string, now: number): void {
    for (const job of [...this.#running.values()].filter((each) => each.worker === worker)) {
      const rule = this.#rules.onWorkerLost;
      if (rule.action === 'requeue' && job.retries < rule.times) {
        this.#running.delete(job.id);
        job.retries += 1;
        this.#counts.retried += 1;
        this.#requeue(job, 'front', now);
      } else {
        this.#end(job, 'FAILED', { error: `worker ${worker} was lost: ${why}` }, now);
      }
    }
  }

  /** Deletes a job without a trace, as an expired TTL does. The admin API uses it as a fault. */
  forget(job: RunpodJob): void {
    this.#remove(job, 'forgotten');
  }

  /** Applies every deadline that has passed. */
  expire(now: number): void {
    for (const job of [...this.#queue, ...this.#running.values()]) {
      if (now >= job.submittedAt + job.ttlMs) {
        this.#remove(job, 'ttl');
      } else if (job.startedAt !== null && now >= job.startedAt + job.executionTimeoutMs) {
        this.#stopOnWorker(job);
        this.#end(job, 'TIMED_OUT', { ...job.result, error: 'executionTimeout exceeded' }, now);
      }
    }
    for (const source of ['run', 'runsync'] as const) {
      for (const job of this.#finished[source].values()) {
        if (now < this.#leavesAt(job)) {
          break;
        }
        this.#remove(job, 'retention');
      }
    }
  }

  /** The next time at which `expire` changes a job. */
  nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const job of [...this.#queue, ...this.#running.values()]) {
      next = Math.min(next, job.submittedAt + job.ttlMs);
      if (job.startedAt !== null) {
        next = Math.min(next, job.startedAt + job.executionTimeoutMs);
      }
    }
    for (const finished of [this.#finished.run, this.#finished.runsync]) {
      for (const job of finished.values()) {
        next = Math.min(next, this.#leavesAt(job));
        break;
      }
    }
    return next;
  }

  #leavesAt(job: RunpodJob): number {
    const kept = job.source === 'run' ? this.#rules.runRetentionMs : this.#rules.runsyncRetentionMs;
    return (job.finishedAt ?? 0) + kept;
  }

  #enqueue(job: RunpodJob, end: 'front' | 'back'): void {
    const gap = end === 'back' ? 1 : 0;
    const place = this.#queue.findIndex((other) => rank(other) - rank(job) >= gap);
    this.#queue.splice(place === -1 ? this.#queue.length : place, 0, job);
    this.#report({ type: 'job_queued', job: job.id, retries: job.retries });
  }

  #requeue(job: RunpodJob, end: 'front' | 'back', queuedAt: number): void {
    job.status = 'IN_QUEUE';
    job.queuedAt = queuedAt;
    job.startedAt = null;
    job.finishedAt = null;
    job.worker = null;
    job.result = {};
    job.chunks = [];
    this.#enqueue(job, end);
  }

  #end(job: RunpodJob, status: FinalStatus, result: WorkerResult, now: number): void {
    this.#queue = this.#queue.filter((other) => other !== job);
    this.#running.delete(job.id);
    job.status = status;
    job.result = result;
    job.finishedAt = now;
    this.#finished[job.source].set(job.id, job);
    if (status === 'COMPLETED') {
      this.#counts.completed += 1;
    } else if (status !== 'CANCELLED') {
      this.#counts.failed += 1;
    }
    this.#report({ type: 'job_finished', job: job.id, status, worker: job.worker });
  }

  #reopen(job: RunpodJob, worker: string, output: unknown): void {
    this.#finished[job.source].delete(job.id);
    job.status = 'IN_PROGRESS';
    job.finishedAt = null;
    job.result = { output };
    this.#running.set(job.id, job);
    this.#report({ type: 'job_reopened', job: job.id, worker });
  }

  #remove(job: RunpodJob, reason: 'ttl' | 'retention' | 'forgotten'): void {
    this.#stopOnWorker(job);
    this.#queue = this.#queue.filter((other) => other !== job);
    this.#running.delete(job.id);
    this.#finished[job.source].delete(job.id);
    this.#byId.delete(job.id);
    this.#report({ type: 'job_removed', job: job.id, reason });
  }

  #stopOnWorker(job: RunpodJob): void {
    if (job.status === 'IN_PROGRESS' && job.worker !== null) {
      this.#report({ type: 'job_stop_wanted', job: job.id, worker: job.worker });
    }
  }

  #ownedBy(id: string, worker: string): RunpodJob | null {
    const job = this.#byId.get(id);
    if (job === undefined) {
      this.#report({ type: 'report_ignored', job: id, worker, reason: 'unknown job' });
      return null;
    }
    if (job.worker !== worker) {
      this.#report({ type: 'report_ignored', job: id, worker, reason: "not this worker's job" });
      return null;
    }
    if (isFinal(job.status)) {
      this.#report({ type: 'report_ignored', job: id, worker, reason: 'job is over' });
      return null;
    }
    return job;
  }
}

/** Low priority is behind all other jobs. */
function rank(job: RunpodJob): number {
  return job.lowPriority ? 1 : 0;
}
