import type { Cancel, Clock } from '../clock.ts';
import type { EndpointConfig } from '../config.ts';
import type { Happening, StopReason } from '../core/happening.ts';
import { isFinal, type RunpodJob, type Submission, webhookBody } from '../core/job.ts';
import { Jobs } from '../core/jobs.ts';
import { Roster, type WorkerAction } from '../core/roster.ts';
import { nextScaling, type ScalingRules, workersToStart } from '../core/scaling.ts';
import type { EventLog } from '../events.ts';
import { CRASH_BACKOFF_MS, RUN_RETENTION_MS, RUNSYNC_RETENTION_MS, STOPPING_POLL_MS } from '../limits.ts';
import type { Exit, Launched, Launcher } from './processes.ts';
import type { Webhooks } from './webhooks.ts';

interface EndpointParts {
  clock: Clock;
  events: EventLog;
  webhooks: Webhooks;
  launcher: Launcher;
}

/** A worker that waits for work. */
interface TakePoll {
  worker: string;
  count: number;
  give: (jobs: RunpodJob[]) => void;
}

/**
 * One endpoint alive: it puts the rules of `Jobs`, `Roster` and `workersToStart` to work with a clock, processes
 * and webhooks. After every change `#settle` hands out queued jobs, starts and stops workers and sets the one timer.
 */
export class Endpoint {
  readonly config: EndpointConfig;
  readonly jobs: Jobs;
  readonly roster: Roster;
  readonly scaling: ScalingRules;
  readonly #parts: EndpointParts;
  readonly #processes = new Map<string, Launched>();
  #polls: TakePoll[] = [];
  #timer: Cancel | null = null;
  #settling = false;
  #closed = false;
  /** Starts in a row that ended before the first job-take, and when the next start is allowed. */
  #crashes = 0;
  #startAllowedAt = 0;

  constructor(config: EndpointConfig, parts: EndpointParts) {
    this.config = config;
    this.#parts = parts;
    const report = (happening: Happening): void => this.#happened(happening);
    this.jobs = new Jobs(
      {
        runRetentionMs: RUN_RETENTION_MS,
        runsyncRetentionMs: RUNSYNC_RETENTION_MS,
        onWorkerLost: config.on_worker_lost,
        lateProgressReopens: config.late_progress_reopens,
      },
      report,
    );
    const { workers } = config;
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
    this.scaling = { min: workers.min, max: workers.max, queueDelayMs: config.queue_delay_s * 1000 };
  }

  get id(): string {
    return this.config.id;
  }

  get now(): number {
    return this.#parts.clock.now();
  }

  /** Consecutive starts that failed: what `/health` shows as unhealthy. */
  get crashes(): number {
    return this.#crashes;
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

  /** Resolves when the job is over or gone, or when `waitMs` has passed. */
  async waitForEnd(id: string, waitMs: number, signal?: AbortSignal): Promise<void> {
    const job = this.find(id);
    if (job === null || isFinal(job.status)) {
      return;
    }
    await this.#parts.events.until(
      (event) =>
        event.endpoint === this.id &&
        (event.type === 'job_finished' || event.type === 'job_removed') &&
        event.job === id,
      waitMs,
      signal,
    );
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
    this.#crashes = 0;
    record.openPolls += 1;
    const given = await new Promise<RunpodJob[]>((resolve) => {
      const end = (jobs: RunpodJob[]): void => {
        this.#polls = this.#polls.filter((other) => other !== poll);
        stopTimer();
        signal.removeEventListener('abort', onAbort);
        resolve(jobs);
      };
      const onAbort = (): void => {
        end([]);
        this.#happened({ type: 'worker_hung_up', worker });
      };
      const poll: TakePoll = { worker, count, give: end };
      const stopTimer = this.#parts.clock.schedule(holdMs, () => end([]));
      signal.addEventListener('abort', onAbort);
      this.#polls.push(poll);
      this.settle();
    });
    record.openPolls -= 1;
    this.change(() => this.roster.seen(worker, this.now));
    return given;
  }

  /** The answer of job-take did not reach the worker: its jobs go back. */
  notReceived(worker: string, jobs: readonly RunpodJob[]): void {
    this.change(() => {
      for (const job of jobs) {
        this.jobs.giveBack(job.id, worker);
        this.roster.letGo(worker, job.id, this.now);
      }
    });
  }

  /** job-stop: waits for jobs this worker is to stop. */
  async stops(worker: string, holdMs: number, signal: AbortSignal): Promise<string[]> {
    const record = this.change(() => this.roster.seen(worker, this.now));
    const at_once = this.roster.takeStops(worker);
    if (at_once.length > 0 || this.#closed || record.state === 'stopping') {
      return at_once;
    }
    record.openPolls += 1;
    await this.#parts.events.until(
      (event) =>
        event.endpoint === this.id &&
        ((event.type === 'job_stop_wanted' && event.worker === worker) ||
          (event.type === 'worker_stopping' && event.worker === worker)),
      holdMs,
      signal,
    );
    record.openPolls -= 1;
    return signal.aborted ? [] : this.roster.takeStops(worker);
  }

  /** Asks a worker to go: SIGTERM, and no more work for it. */
  stopWorker(id: string, reason: StopReason): void {
    this.change(() => {
      this.roster.stopping(id, reason, this.now);
      for (const poll of this.#polls.filter((each) => each.worker === id)) {
        poll.give([]);
      }
      this.#processes.get(id)?.signal('SIGTERM');
    });
  }

  /** Kills a worker and everything it started. False if there is no process of that name. */
  killWorker(id: string, signal: NodeJS.Signals): boolean {
    const launched = this.#processes.get(id);
    if (launched === undefined) {
      return false;
    }
    this.#happened({ type: 'worker_killed', worker: id, signal });
    if (signal === 'SIGKILL') {
      this.roster.killed(id);
    }
    launched.signal(signal);
    return true;
  }

  /** Changes the scaling limits; workers above the new maximum are asked to go, idle ones first. */
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

  /** Ends every worker process, now. Resolves when all are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.();
    for (const poll of this.#polls) {
      poll.give([]);
    }
    const gone = [...this.#processes.values()].map((launched) => {
      launched.signal('SIGKILL');
      return launched.exited;
    });
    await Promise.all(gone);
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
      this.#start();
    } finally {
      this.#settling = false;
    }
    this.#setTimer();
  }

  #handOut(): void {
    while (this.#polls.length > 0 && this.jobs.queued().length > 0) {
      const poll = this.#polls.find((each) => this.roster.get(each.worker)?.state !== 'stopping');
      if (poll === undefined) {
        return;
      }
      const taken = this.jobs.take(poll.worker, poll.count, this.now);
      for (const job of taken) {
        this.roster.assign(poll.worker, job.id);
      }
      poll.give(taken);
    }
  }

  #start(): void {
    const { command } = this.config.workers;
    if (command === undefined || this.now < this.#startAllowedAt) {
      return;
    }
    const count = workersToStart(this.scaling, this.jobs.queued(), this.roster.all(), this.now);
    for (let started = 0; started < count; started += 1) {
      this.#startOne(command);
    }
  }

  #startOne(command: readonly string[]): void {
    const record = this.roster.open(this.now);
    const launched = this.#parts.launcher({
      endpoint: this.id,
      worker: record.id,
      slot: record.slot ?? 0,
      command,
      env: this.config.workers.env,
      cwd: this.config.workers.cwd,
      pingIntervalMs: this.config.ping_interval_ms,
    });
    this.#processes.set(record.id, launched);
    record.pid = launched.pid;
    if (launched.pid !== null) {
      this.#happened({ type: 'worker_started', worker: record.id, pid: launched.pid });
    }
    const ended = (exit: Exit): void => {
      this.#processes.delete(record.id);
      if (exit.problem !== null) {
        this.#happened({ type: 'worker_start_failed', worker: record.id, reason: exit.problem });
      }
      this.#happened({ type: 'worker_exited', worker: record.id, code: exit.code, signal: exit.signal });
      const how = exit.signal === null ? `exit code ${exit.code ?? 'unknown'}` : exit.signal;
      this.#workerGone(record.id, 'process exited', how);
    };
    launched.exited.then(ended, (error: unknown) => ended({ code: null, signal: null, problem: String(error) }));
  }

  #workerGone(id: string, reason: 'process exited' | 'missed pings', detail: string): void {
    const record = this.roster.get(id);
    if (record === null) {
      return;
    }
    if (record.state === 'initializing') {
      const pause = Math.min(CRASH_BACKOFF_MS.first * 2 ** this.#crashes, CRASH_BACKOFF_MS.max);
      this.#crashes += 1;
      this.#startAllowedAt = this.now + pause;
    }
    this.change(() => {
      for (const poll of this.#polls.filter((each) => each.worker === id)) {
        poll.give([]);
      }
      if (record.jobs.size > 0 || record.killedFor !== null) {
        this.#happened({ type: 'worker_lost', worker: id, reason: record.killedFor ?? reason });
      }
      this.roster.gone(id);
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
        this.#workerGone(action.worker, 'missed pings', 'no sign of life');
        break;
    }
  }

  #setTimer(): void {
    this.#timer?.();
    const { now } = this;
    const next = Math.min(
      this.jobs.nextDeadline(),
      this.roster.nextDeadline(now),
      nextScaling(this.scaling, this.jobs.queued(), now),
      this.#startAllowedAt > now ? this.#startAllowedAt : Number.POSITIVE_INFINITY,
    );
    this.#timer = Number.isFinite(next) ? this.#parts.clock.schedule(next - now, () => this.settle()) : null;
  }

  #happened(happening: Happening): void {
    if (happening.type === 'job_stop_wanted') {
      this.roster.wantStop(happening.worker, happening.job, this.now);
    }
    this.#parts.events.append(this.id, happening);
    if (happening.type === 'job_finished') {
      this.#sendWebhook(happening.job);
    }
  }

  /** Sends (or sends again) the completion webhook of a job that has one. */
  sendWebhook(id: string): boolean {
    return this.#sendWebhook(id);
  }

  #sendWebhook(id: string): boolean {
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
}
