import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** How long a program may take to end after SIGTERM before it is killed. */
const STOP_GRACE_MS = 5_000;

/** Lines of a log that are shown when its program fails. */
const SHOWN_LINES = 25;

/**
 * Outlives the launcher by a moment: reads until the launcher's end of the pipe is gone, however it went, then ends the
 * program's whole process group. `$1` is the group, `$2` the grace in tenths of a second.
 */
const WATCHDOG = `
  cat >/dev/null
  kill -TERM -"$1" 2>/dev/null || exit 0
  tenths=0
  while [ "$tenths" -lt "$2" ] && kill -0 -"$1" 2>/dev/null; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -KILL -"$1" 2>/dev/null`;

export interface ProgramOptions {
  command: string;
  args: string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Output of the program and its children, appended. */
  log: string;
}

/** How a program ended. */
export type Exit = { code: number | null; signal: NodeJS.Signals | null };

/** A running program with everything it starts: one process group that ends together. */
export interface Program {
  readonly pid: number;
  /** False once the program itself has ended; its children may still run. */
  readonly running: boolean;
  readonly exited: Promise<Exit>;
  /** SIGTERM to the group, SIGKILL when the grace is over. */
  stop(): Promise<void>;
  /** SIGKILL to the group, now. */
  kill9(): Promise<void>;
  /** The last lines of its output. */
  tail(): string[];
}

const running = new Set<number>();

/** The last resort, for `process.on('exit')`: kills every group that still runs, without waiting. */
export function killAllPrograms(): void {
  for (const pid of running) {
    signalGroup(pid, 'SIGKILL');
  }
  running.clear();
}

/** Starts a program in a process group of its own, so that a Ctrl-C in the terminal reaches the launcher only. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  mkdirSync(dirname(options.log), { recursive: true });
  const output = openSync(options.log, 'a');
  const logStart = fstatSync(output).size;
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  const exited = exitOf(child);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const pid = child.pid;
  if (pid === undefined) {
    throw new Error(`${options.command} started without a process id`);
  }
  running.add(pid);
  const watchdog = spawn('sh', ['-c', WATCHDOG, 'comfy-edge-watchdog', String(pid), String(STOP_GRACE_MS / 100)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.unref();

  const end = async (signal: NodeJS.Signals, graceMs: number): Promise<void> => {
    signalGroup(pid, signal);
    const timer = new AbortController();
    await Promise.race([exited, delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
    // Also when the leader has ended: it may have left children behind.
    signalGroup(pid, 'SIGKILL');
    await exited;
    running.delete(pid);
    watchdog.kill('SIGKILL');
  };
  return {
    pid,
    get running() {
      return child.exitCode === null && child.signalCode === null;
    },
    exited,
    stop: () => end('SIGTERM', STOP_GRACE_MS),
    kill9: () => end('SIGKILL', 0),
    tail: () => readFileSync(options.log).subarray(logStart).toString('utf8').trimEnd().split('\n').slice(-SHOWN_LINES),
  };
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // The whole group is gone already.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) {
      throw error;
    }
  }
}
