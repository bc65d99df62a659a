import { setTimeout as delay } from 'node:timers/promises';
import { type Failure, type Outcome, failure } from './outcome.ts';
import { killAllPrograms } from './program.ts';

/** Shells report a program ended by a signal as 128 + its number. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
type StopSignal = keyof typeof EXIT_CODES;

/** A terminal's Ctrl-C reaches this process twice when npm passes it on; a person's second one comes later. */
const SECOND_SIGNAL_AFTER_MS = 1_000;

/** Longest orderly shutdown; after that everything is killed. */
const SHUTDOWN_MS = 15_000;

const PARENT_CHECK_MS = 500;

/** Passed to the body of a launcher. */
export interface Launch {
  /** Aborts when the program must end; the body then stops its work. */
  signal: AbortSignal;
  /** Registers a part to close at the end, also after a failure. The last registered is closed first. */
  defer(close: () => Promise<void>): void;
}

/**
 * Runs the body of a command-line program. It ends with 0 when the body is done, 1 and one line on stderr when it failed, and
 * 128 + signal when it was asked to end (SIGINT, SIGTERM, SIGHUP, the end of the npm that started it, a closed stdout).
 * Everything deferred is closed first.
 */
export async function launch(body: (run: Launch) => Promise<Outcome<null>>): Promise<void> {
  const ending = new AbortController();
  const closers: (() => Promise<void>)[] = [];
  let asked: { signal: StopSignal; at: number } | null = null;

  const askToEnd = (signal: StopSignal) => {
    if (asked === null) {
      asked = { signal, at: performance.now() };
      ending.abort(new Error(`asked to end by ${signal}`));
    } else if (performance.now() - asked.at > SECOND_SIGNAL_AFTER_MS) {
      process.exit(EXIT_CODES[signal]);
    }
  };
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => askToEnd(signal));
  }
  process.on('exit', killAllPrograms);
  // The reader of a pipe has ended (`| head`).
  process.stdout.on('error', () => askToEnd('SIGHUP'));
  watchParent(() => askToEnd('SIGHUP'));

  const unexpected = Promise.withResolvers<Failure>();
  const onUnexpected = (error: unknown) => unexpected.resolve(unexpectedFailure(error));
  process.on('uncaughtException', onUnexpected);
  process.on('unhandledRejection', onUnexpected);
  const interrupted = new Promise<'interrupted'>((resolve) => {
    ending.signal.addEventListener('abort', () => resolve('interrupted'));
  });

  // Node ends when nothing is left to wait for; here the body's end decides.
  setInterval(() => undefined, 2 ** 30);
  const running = body({ signal: ending.signal, defer: (close) => closers.unshift(close) }).catch(unexpectedFailure);
  const result = await Promise.race([unexpected.promise, interrupted, running]);
  if (result !== 'interrupted' && !result.ok) {
    report(result);
  }
  ending.abort(new Error('the program ends'));
  await withinShutdownTime(running);
  await withinShutdownTime(closeAll(closers));
  if (result === 'interrupted') {
    console.error('Stopped.');
  }
  process.exit(codeOf(asked, result !== 'interrupted' && result.ok));
}

function codeOf(asked: { signal: StopSignal } | null, done: boolean): number {
  if (asked !== null) {
    return EXIT_CODES[asked.signal];
  }
  return done ? 0 : 1;
}

function report({ message, details }: Failure): void {
  for (const line of details) {
    console.error(`  ${line}`);
  }
  console.error(message);
}

/** A bug, not an expected failure: its stack helps to fix it. */
function unexpectedFailure(error: unknown): Failure {
  return error instanceof Error
    ? failure(`Unexpected: ${error.message}`, error.stack?.split('\n').slice(1) ?? [])
    : failure(`Unexpected: ${String(error)}`);
}

async function closeAll(closers: (() => Promise<void>)[]): Promise<void> {
  for (const close of closers) {
    await close().catch((error: unknown) => report(unexpectedFailure(error)));
  }
}

async function withinShutdownTime(work: Promise<unknown>): Promise<void> {
  await Promise.race([work, delay(SHUTDOWN_MS, undefined, { ref: false })]);
}

/** npm killed outright passes nothing on. Only under npm: who starts the program by hand may want it to outlive the shell. */
function watchParent(onGone: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) {
    return;
  }
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) {
      clearInterval(timer);
      onGone();
    }
  }, PARENT_CHECK_MS);
  timer.unref();
}
