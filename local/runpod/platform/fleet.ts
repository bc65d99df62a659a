import type { EndpointConfig } from '../config.ts';
import type { Report } from '../core/endpoint-event.ts';
import { CRASH_BACKOFF_MS } from '../limits.ts';
import type { Exit, Launched, Launcher } from './processes.ts';

/** The worker processes of one endpoint: starting them, signalling them, and holding back when they will not come up. */
export class Fleet {
  readonly #config: EndpointConfig;
  readonly #launcher: Launcher;
  readonly #report: Report;
  readonly #processes = new Map<string, Launched>();
  #crashes = 0;
  #startAllowedAt = 0;

  constructor(config: EndpointConfig, launcher: Launcher, report: Report) {
    this.#config = config;
    this.#launcher = launcher;
    this.#report = report;
  }

  /** Starts in a row that ended before the first job-take. */
  get crashes(): number {
    return this.#crashes;
  }

  /** When the next start is allowed, in milliseconds since the epoch. */
  get startAllowedAt(): number {
    return this.#startAllowedAt;
  }

  /** The program of a worker; null when workers only attach. */
  get command(): readonly string[] | null {
    return this.#config.workers.command ?? null;
  }

  /** Starts one worker; `ended` is called once, when its process is gone. Gives its process id, null if there is none. */
  start(worker: string, slot: number, command: readonly string[], ended: (how: string) => void): number | null {
    const launched = this.#launcher({
      endpoint: this.#config.id,
      worker,
      slot,
      command,
      env: this.#config.workers.env,
      cwd: this.#config.workers.cwd,
      pingIntervalMs: this.#config.ping_interval_ms,
    });
    this.#processes.set(worker, launched);
    if (launched.pid !== null) {
      this.#report({ type: 'worker_started', worker, pid: launched.pid });
    }
    const onExit = (exit: Exit): void => {
      this.#processes.delete(worker);
      if (exit.problem !== null) {
        this.#report({ type: 'worker_start_failed', worker, reason: exit.problem });
      }
      this.#report({ type: 'worker_exited', worker, code: exit.code, signal: exit.signal });
      ended(exit.signal ?? `exit code ${exit.code ?? 'unknown'}`);
    };
    launched.exited.then(onExit, (error: unknown) => onExit({ code: null, signal: null, problem: String(error) }));
    return launched.pid;
  }

  /** Sends a signal. False for a worker without a process. */
  signal(worker: string, signal: NodeJS.Signals): boolean {
    const launched = this.#processes.get(worker);
    launched?.signal(signal);
    return launched !== undefined;
  }

  /** A worker took work: starting works. */
  cameUp(): void {
    this.#crashes = 0;
  }

  /** A worker ended before it took any work: the next start waits, longer each time. */
  crashed(now: number): void {
    this.#startAllowedAt = now + Math.min(CRASH_BACKOFF_MS.first * 2 ** this.#crashes, CRASH_BACKOFF_MS.max);
    this.#crashes += 1;
  }

  /** Kills every process; resolves when all are gone. */
  async close(): Promise<void> {
    const gone = [...this.#processes.values()].map((launched) => {
      launched.signal('SIGKILL');
      return launched.exited;
    });
    await Promise.all(gone);
  }
}
