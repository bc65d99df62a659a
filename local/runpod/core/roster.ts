import { STOP_AFTER_TAKE_MS } from '../limits.ts';
import type { LossReason, Report, StopReason } from './endpoint-event.ts';

export type WorkerState = 'initializing' | 'idle' | 'running' | 'stopping';

/** One worker. Times are milliseconds since the epoch. */
export interface WorkerRecord {
  id: string;
  /** The slot (1..max) of a started worker; null for an attached worker. */
  slot: number | null;
  pid: number | null;
  state: WorkerState;
  startedAt: number;
  lastSeen: number;
  idleSince: number;
  /** Its open long polls: a worker with one is not silent. */
  openPolls: number;
  /** Its jobs and their start times, including jobs that it has been asked to stop and has not ended. */
  jobs: Map<string, number>;
  /** Jobs to stop: since when, whether job-stop has sent them, and the pings since then without the job. */
  stops: Map<string, { since: number; sent: boolean; unnamed: number }>;
  /** Time of its SIGTERM, or of the end of its last job after that; it is killed `termGrace` later. */
  stoppingSince: number;
  /** It was killed, and its process has not ended yet. */
  killed: boolean;
  /** Why the platform killed it; null when it was killed by the admin API. */
  killedFor: LossReason | null;
}

/** The rules of an endpoint that concern its workers. Times in milliseconds. */
export interface RosterRules {
  min: number;
  idleTimeoutMs: number;
  initTimeoutMs: number;
  stopGraceMs: number;
  termGraceMs: number;
  silenceMs: number;
}

/** An action on a worker whose time has come. */
export type WorkerAction =
  | { do: 'terminate'; worker: string; reason: StopReason }
  | { do: 'kill'; worker: string; reason: LossReason | 'did not end' }
  | { do: 'write off'; worker: string; reason: LossReason };

/** The workers of one endpoint. No timers and no processes: `now` is a parameter, and `due` returns the actions. */
export class Roster {
  readonly #rules: RosterRules;
  readonly #report: Report;
  readonly #workers = new Map<string, WorkerRecord>();
  /** Started workers that have ended: a late call of one must not add it again. */
  readonly #ended = new Set<string>();
  #started = 0;

  constructor(rules: RosterRules, report: Report) {
    this.#rules = rules;
    this.#report = report;
  }

  /** Sets the number of workers kept when idle. */
  setMin(min: number): void {
    this.#rules.min = min;
  }

  get(id: string): WorkerRecord | null {
    return this.#workers.get(id) ?? null;
  }

  all(): WorkerRecord[] {
    return [...this.#workers.values()];
  }

  in(...states: WorkerState[]): WorkerRecord[] {
    return this.all().filter((worker) => states.includes(worker.state));
  }

  /** Adds a worker to start, with a new name and the lowest free slot. */
  open(now: number): WorkerRecord {
    this.#started += 1;
    const taken = new Set(this.all().map((worker) => worker.slot));
    let slot = 1;
    while (taken.has(slot)) {
      slot += 1;
    }
    return this.#add(newWorker(`w${this.#started}`, slot, 'initializing', now));
  }

  /** Records a call of a worker. An unknown worker attaches itself by its first call. */
  seen(id: string, now: number): WorkerRecord {
    const known = this.#workers.get(id);
    if (known !== undefined) {
      known.lastSeen = now;
      return known;
    }
    if (this.#ended.has(id)) {
      return newWorker(id, null, 'stopping', now);
    }
    const worker = this.#add(newWorker(id, null, 'idle', now));
    this.#report({ type: 'worker_ready', worker: id, attached: true });
    return worker;
  }

  /** Records a job-take. A worker without jobs in progress has ended all jobs that it was asked to stop. */
  asks(id: string, jobInProgress: boolean, now: number): WorkerRecord {
    const worker = this.seen(id, now);
    if (worker.state === 'initializing') {
      worker.state = 'idle';
      worker.idleSince = now;
      this.#report({ type: 'worker_ready', worker: id, attached: false });
    }
    if (!jobInProgress) {
      for (const job of worker.stops.keys()) {
        this.removeJob(id, job, now);
      }
    }
    return worker;
  }

  /**
   * A ping lists the worker's jobs. A stopped job that is missing from two pings has ended; the first may be older than the
   * job.
   */
  pinged(id: string, jobs: readonly string[], now: number): void {
    const worker = this.seen(id, now);
    for (const [job, stop] of worker.stops) {
      stop.unnamed = stop.sent && !jobs.includes(job) ? stop.unnamed + 1 : 0;
      if (stop.unnamed >= 2) {
        this.removeJob(id, job, now);
      }
    }
  }

  assign(id: string, job: string, now: number): void {
    const worker = this.#workers.get(id);
    if (worker !== undefined) {
      worker.jobs.set(job, now);
      worker.state = worker.state === 'stopping' ? 'stopping' : 'running';
    }
  }

  /** Removes a job that the worker has ended. */
  removeJob(id: string, job: string, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined || !worker.jobs.delete(job)) {
      return;
    }
    worker.stops.delete(job);
    worker.stoppingSince = now;
    if (worker.jobs.size === 0 && worker.state === 'running') {
      worker.state = 'idle';
      worker.idleSince = now;
    }
  }

  wantStop(id: string, job: string, now: number): void {
    this.#workers.get(id)?.stops.set(job, { since: now, sent: false, unnamed: 0 });
  }

  /** The jobs for the next job-stop; each is returned once. */
  takeStops(id: string, now: number): string[] {
    const due = this.#unsentStops(id).filter((stop) => stop.from <= now);
    for (const { job, stop } of due) {
      stop.sent = true;
      this.#report({ type: 'job_stop_sent', job, worker: id });
    }
    return due.map(({ job }) => job);
  }

  /** Milliseconds until `takeStops` returns a job; Infinity without one. */
  nextStopIn(id: string, now: number): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#unsentStops(id).map((stop) => stop.from - now));
  }

  /** The worker did not receive job-stop: the jobs are sent again. */
  stopsNotReceived(id: string, jobs: readonly string[]): void {
    for (const job of jobs) {
      const stop = this.#workers.get(id)?.stops.get(job);
      if (stop !== undefined) {
        stop.sent = false;
      }
    }
  }

  #unsentStops(id: string): { job: string; stop: { sent: boolean }; from: number }[] {
    const worker = this.#workers.get(id);
    return [...(worker?.stops ?? [])]
      .filter(([, stop]) => !stop.sent)
      .map(([job, stop]) => ({ job, stop, from: (worker?.jobs.get(job) ?? 0) + STOP_AFTER_TAKE_MS }));
  }

  stopping(id: string, reason: StopReason, now: number): void {
    const worker = this.#workers.get(id);
    if (worker !== undefined && worker.state !== 'stopping') {
      worker.state = 'stopping';
      worker.stoppingSince = now;
      this.#report({ type: 'worker_stopping', worker: id, reason });
    }
  }

  /** Records that its process was killed. It gets no more jobs. */
  killed(id: string, why: LossReason | null = null): void {
    const worker = this.#workers.get(id);
    if (worker !== undefined) {
      worker.killed = true;
      worker.killedFor ??= why;
      worker.state = worker.state === 'initializing' ? 'initializing' : 'stopping';
    }
  }

  /** Removes a worker. */
  remove(id: string): void {
    const slot = this.#workers.get(id)?.slot ?? null;
    if (slot !== null) {
      this.#ended.add(id);
    }
    this.#workers.delete(id);
  }

  /** The actions that are due. */
  due(now: number): WorkerAction[] {
    const actions: WorkerAction[] = [];
    for (const worker of this.#workers.values()) {
      const deadline = this.#deadlineOf(worker);
      if (deadline !== null && now >= deadline.at) {
        actions.push(deadline.action);
      }
    }
    const idle = actions.filter((action) => action.do === 'terminate');
    const spare = Math.max(this.in('initializing', 'idle', 'running').length - this.#rules.min, 0);
    const kept = new Set<WorkerAction>(idle.slice(spare));
    return actions.filter((action) => !kept.has(action));
  }

  /** The next time at which `due` returns an action. */
  nextDeadline(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const worker of this.#workers.values()) {
      const deadline = this.#deadlineOf(worker);
      // An idle worker within the minimum is always overdue; it must not schedule a call each time.
      if (deadline !== null && deadline.at > now) {
        next = Math.min(next, deadline.at);
      }
    }
    return next;
  }

  #deadlineOf(worker: WorkerRecord): { at: number; action: WorkerAction } | null {
    const { id } = worker;
    const rules = this.#rules;
    if (worker.killed) {
      return null;
    }
    if (worker.slot === null) {
      const action: WorkerAction = { do: 'write off', worker: id, reason: 'missed pings' };
      return worker.openPolls > 0 ? null : { at: worker.lastSeen + rules.silenceMs, action };
    }
    if (worker.stops.size > 0) {
      const since = Math.min(...[...worker.stops.values()].map((stop) => stop.since));
      const action: WorkerAction = { do: 'kill', worker: id, reason: 'went on with a stopped job' };
      return { at: since + rules.stopGraceMs, action };
    }
    if (worker.state === 'stopping') {
      const at = worker.stoppingSince + rules.termGraceMs;
      return worker.jobs.size > 0 ? null : { at, action: { do: 'kill', worker: id, reason: 'did not end' } };
    }
    if (worker.state === 'initializing') {
      const at = worker.startedAt + rules.initTimeoutMs;
      return { at, action: { do: 'kill', worker: id, reason: 'did not start in time' } };
    }
    if (worker.state === 'idle') {
      const at = worker.idleSince + rules.idleTimeoutMs;
      return { at, action: { do: 'terminate', worker: id, reason: 'idle' } };
    }
    return null;
  }

  #add(worker: WorkerRecord): WorkerRecord {
    this.#workers.set(worker.id, worker);
    return worker;
  }
}

function newWorker(id: string, slot: number | null, state: WorkerState, now: number): WorkerRecord {
  return {
    id,
    slot,
    pid: null,
    state,
    startedAt: now,
    lastSeen: now,
    idleSince: now,
    openPolls: 0,
    jobs: new Map(),
    stops: new Map(),
    stoppingSince: 0,
    killed: false,
    killedFor: null,
  };
}
