import type { Cancel, Clock } from '../clock.ts';
import type { EndpointConfig } from '../config.ts';
import type { EndpointEvent, StopReason } from '../core/endpoint-event.ts';
import { isFinal, type RunpodJob, type Submission, webhookBody } from '../core/job.ts';
import { Jobs } from '../core/jobs.ts';
import { Roster, type WorkerAction } from '../core/roster.ts';
import { nextScaling, type ScalingRules, workersToStart } from '../core/scaling.ts';
import type { EventLog } from '../events.ts';
import { RUN_RETENTION_MS, RUNSYNC_RETENTION_MS, STOPPING_POLL_MS } from '../limits.ts';
import { Fleet } from './fleet.ts';
import type { Launcher } from './processes.ts';
import { TakePolls } from './take-polls.ts';
import type { Webhooks } from './webhooks.ts';

interface EndpointParts {
  clock: Clock;
  events: EventLog;
  webhooks: Webhooks;
  launcher: Launcher;
}

/**
 * One endpoint alive: it puts the rules of `Jobs`, `Roster` and `workersToStart` to work with a clock, processes
 * and webhooks. After every change `settle` hands out queued jobs, starts and stops workers and sets the one timer.
 */
export class Endpoint {
  readonly config: EndpointConfig;
  readonly jobs: Jobs;
  readonly roster: Roster;
  readonly fleet: Fleet;
  readonly scaling: ScalingRules;
  readonly #parts: EndpointParts;
  readonly #polls: TakePolls;
  #timer: Cancel | null = null;
  #settling = false;
  #closed = false;

  constructor(config: EndpointConfig, parts: EndpointParts) {
    this.config = config;
    this.#parts = parts;
    this.#polls = new TakePolls(parts.clock);
    const report = (happening: EndpointEvent): void => this.#happened(happening);
    const { workers } = config;
    this.jobs = new Jobs(
      {
        runRetentionMs: RUN_RETENTION_MS,
        runsyncRetentionMs: RUNSYNC_RETENTION_MS,
        onWorkerLost: config.on_worker_lost,
        lateProgressReopens: config.late_progress_reopens,
      },
      report,
    );
    this.roster = new Roster(
      {
        min: workers.min,
        idleTimeoutMs: workers.idle_timeout_s * 1000,
        initTimeoutMs: workers.init_timeout_s * 1000,
        stopGraceMs: workers.stop_grace_s * 1000,
        termGraceMs: workers.term_grace_s * 1000,
        silenceMs: config.ping_interval_ms * config.missed_pings,
      },
      report,
    );
    this.fleet = new Fleet(config, parts.launcher, report);
    this.scaling = { min: workers.min, max: workers.max, queueDelayMs: config.queue_delay_s * 1000 };
  }

  get id(): string {
    return this.config.id;
  }

  get now(): number {
    return this.#parts.clock.now();
  }

  /** Does something to the jobs or workers, then everything that follows from it. */
  change<T>(action: () => T): T {
    const result = action();
    this.settle();
    return result;
  }

  submit(submission: Submission): RunpodJob {
    return this.change(() => this.jobs.submit(submission, this.now));
  }

  /** A job that can still be read, or null: unknown, expired and forgotten jobs look the same. */
  find(id: string): RunpodJob | null {
    return this.change(() => this.jobs.get(id));
  }

  /** Waits until the job is over, gone, or `waitMs` has passed; then as `find`. */
  async findEnded(id: string, waitMs: number, signal: AbortSignal): Promise<RunpodJob | null> {
    const job = this.find(id);
    if (job !== null && !isFinal(job.status)) {
      await this.#parts.events.until(
        (event) =>
          (event.type === 'job_finished' || event.type === 'job_removed') &&
          event.endpoint === this.id &&
          event.job === id,
        waitMs,
        signal,
      );
    }
    return this.find(id);
  }

  /** job-take: waits for up to `count` jobs. Empty when none came in time or the worker is to go. */
  async take(
    worker: string,
    count: number,
    inProgress: boolean,
    holdMs: number,
    signal: AbortSignal,
  ): Promise<RunpodJob[]> {
    const record = this.change(() => this.roster.asks(worker, inProgress, this.now));
    if (record.state === 'stopping' || this.#closed) {
      await this.#parts.events.until(() => false, STOPPING_POLL_MS, signal);
      return [];
    }
    this.fleet.cameUp();
    record.openPolls += 1;
    const end = await this.change(() => this.#polls.wait(worker, count, holdMs, signal));
    record.openPolls -= 1;
    this.change(() => this.roster.seen(worker, this.now));
    if (end.hungUp) {
      this.#happened({ type: 'worker_hung_up', worker });
    }
    return end.jobs;
  }

  /** The answer of job-take did not reach the worker: its jobs go back. */
  notReceived(worker: string, jobs: readonly RunpodJob[]): void {
    this.change(() => {
      for (const job of jobs) {
        this.jobs.requeueUndelivered(job.id, worker);
        this.roster.removeJob(worker, job.id, this.now);
      }
    });
  }

  /** job-stop: waits for jobs this worker is to stop. */
  async stops(worker: string, holdMs: number, signal: AbortSignal): Promise<string[]> {
    const deadline = this.now + holdMs;
    for (;;) {
      const record = this.change(() => this.roster.seen(worker, this.now));
      if (signal.aborted) {
        return [];
      }
      const due = this.roster.takeStops(worker, this.now);
      if (due.length > 0 || this.#closed || record.state === 'stopping' || this.now >= deadline) {
        return due;
      }
      record.openPolls += 1;
      await this.#parts.events.until(
        (event) =>
          (event.type === 'job_stop_wanted' || event.type === 'worker_stopping') &&
          event.endpoint === this.id &&
          event.worker === worker,
        Math.min(deadline - this.now, this.roster.nextStopIn(worker, this.now)),
        signal,
      );
      record.openPolls -= 1;
    }
  }

  /** Asks a worker to go: SIGTERM, no more work, and an answer to its open calls so that it can. */
  stopWorker(id: string, reason: StopReason): void {
    this.change(() => {
      this.roster.stopping(id, reason, this.now);
      this.#polls.release(id);
      this.fleet.signal(id, 'SIGTERM');
    });
  }

  /** Sends a signal to a worker; SIGKILL reaches its children too. False for a worker without a process. */
  killWorker(id: string, signal: NodeJS.Signals): boolean {
    if (!this.fleet.signal(id, signal)) {
      return false;
    }
    this.#happened({ type: 'worker_killed', worker: id, signal });
    if (signal === 'SIGKILL') {
      this.roster.killed(id);
    }
    return true;
  }

  /** Changes the scaling limits; workers above the new maximum are stopped, idle ones first. */
  rescale(limits: { min?: number | undefined; max?: number | undefined }): void {
    this.scaling.min = limits.min ?? this.scaling.min;
    this.scaling.max = limits.max ?? this.scaling.max;
    this.roster.setMin(this.scaling.min);
    const live = [...this.roster.in('idle', 'initializing'), ...this.roster.in('running')];
    const surplus = live.filter((worker) => worker.slot !== null).slice(0, Math.max(live.length - this.scaling.max, 0));
    for (const worker of surplus) {
      this.stopWorker(worker.id, 'scaled down');
    }
    this.settle();
  }

  /** Sends the webhook of a job's current state. False for an unknown job, or one without a webhook. */
  sendWebhook(id: string): boolean {
    const job = this.jobs.get(id);
    if (job === null || job.webhook === null) {
      return false;
    }
    this.#parts.webhooks.send({
      endpoint: this.id,
      job: id,
      url: job.webhook,
      body: JSON.stringify(webhookBody(job)),
      report: (happening) => this.#happened(happening),
    });
    return true;
  }

  /** Ends every worker process, now. Resolves when all are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.();
    this.#polls.release();
    await this.fleet.close();
  }

  /** Brings everything in line with the present state and time, and sets the timer for what comes next. */
  settle(): void {
    if (this.#settling || this.#closed) {
      return;
    }
    this.#settling = true;
    try {
      this.jobs.expire(this.now);
      for (const action of this.roster.due(this.now)) {
        this.#act(action);
      }
      this.#handOut();
      this.#startWorkers();
    } finally {
      this.#settling = false;
    }
    this.#setTimer();
  }

  #handOut(): void {
    const mayHave = (worker: string): boolean => this.roster.get(worker)?.state !== 'stopping';
    const take = (worker: string, count: number): RunpodJob[] => {
      const taken = this.jobs.take(worker, count, this.now);
      for (const job of taken) {
        this.roster.assign(worker, job.id, this.now);
      }
      return taken;
    };
    while (this.jobs.queued().length > 0 && this.#polls.give(mayHave, take)) {
      // One worker after the other, until the queue is empty or no worker is waiting.
    }
  }

  #startWorkers(): void {
    const { command } = this.fleet;
    if (command === null || this.now < this.fleet.startAllowedAt) {
      return;
    }
    const count = workersToStart(this.scaling, this.jobs.queued(), this.roster.all(), this.now);
    for (let started = 0; started < count; started += 1) {
      const record = this.roster.open(this.now);
      const { id } = record;
      record.pid = this.fleet.start(id, record.slot ?? 0, command, (how) => this.#gone(id, 'process exited', how));
    }
  }

  #gone(id: string, reason: 'process exited' | 'missed pings', detail: string): void {
    const record = this.roster.get(id);
    if (record === null) {
      return;
    }
    if (record.state === 'initializing') {
      this.fleet.crashed(this.now);
    }
    this.change(() => {
      this.#polls.release(id);
      if (record.jobs.size > 0 || record.killedFor !== null) {
        this.#happened({ type: 'worker_lost', worker: id, reason: record.killedFor ?? reason });
      }
      this.roster.remove(id);
      this.jobs.workerLost(id, `${reason} (${detail})`, this.now);
    });
  }

  #act(action: WorkerAction): void {
    switch (action.do) {
      case 'terminate':
        this.stopWorker(action.worker, action.reason);
        break;
      case 'kill':
        this.roster.killed(action.worker, action.reason === 'did not end' ? null : action.reason);
        this.killWorker(action.worker, 'SIGKILL');
        break;
      case 'write off':
        this.#gone(action.worker, 'missed pings', 'no sign of life');
        break;
    }
  }

  #setTimer(): void {
    this.#timer?.();
    const { now } = this;
    const mayStart = this.fleet.startAllowedAt;
    const next = Math.min(
      this.jobs.nextDeadline(),
      this.roster.nextDeadline(now),
      nextScaling(this.scaling, this.jobs.queued(), now),
      mayStart > now ? mayStart : Number.POSITIVE_INFINITY,
    );
    this.#timer = Number.isFinite(next) ? this.#parts.clock.schedule(next - now, () => this.settle()) : null;
  }

  #happened(happening: EndpointEvent): void {
    if (happening.type === 'job_stop_wanted') {
      this.roster.wantStop(happening.worker, happening.job, this.now);
    }
    this.#parts.events.append(this.id, happening);
    if (happening.type === 'job_finished') {
      this.sendWebhook(happening.job);
    }
  }
}
