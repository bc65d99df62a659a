import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Outcome, done, failure } from '../stack/outcome.ts';

/** Oldest Python the lock file was compiled for (`uv pip compile --python-version 3.11`). */
const OLDEST = { major: 3, minor: 11 };

/** Names of a Python that may be new enough, the most common first. */
const INTERPRETERS = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'];

/** Lines of pip's output that are shown when it fails. */
const SHOWN_LINES = 12;

/**
 * Installs the files a lock names and nothing else: without `--no-deps` an installer looks for the needs of each package
 * again, and may install a newer release than the locked one.
 */
const AS_LOCKED = ['--no-deps', '--require-hashes', '--only-binary', ':all:'];

/** The lock of uv, which installs everything else: the one the image's build uses too. */
const UV_LOCK = join('worker-gpu', 'image', 'builder.lock');

const CHECK_NETWORK = 'Check the network (or your package index) and run the command again.';

/** Written last, into the environment: the hash of the lock file it was made from. */
const STAMP = '.comfy-edge-lock';

/** Paths, and the receiver of messages. */
export interface EnvironmentOptions {
  root: string;
  /** Replaces PATH when Python is looked for. */
  searchPath?: string;
  report: (line: string) => void;
  /** Ends venv, pip and uv when it aborts. */
  signal?: AbortSignal;
}

/** `python` is the interpreter to use; `made` is false when the environment was there already. */
export interface Environment {
  python: string;
  made: boolean;
}

/**
 * Installs `<root>/local/python/requirements.lock` into `<root>/.venv` and returns its interpreter. pip installs uv, and uv
 * the rest, both by hash. When the environment is current, the call only hashes the lock file. Several processes may call it
 * at once: one installs, the others wait.
 */
export async function ensureEnvironment(options: EnvironmentOptions): Promise<Outcome<Environment>> {
  const { root, report } = options;
  const folder = join(root, '.venv');
  const python = join(folder, 'bin', 'python');
  const requirements = join(root, 'local', 'python', 'requirements.lock');
  const wanted = createHash('sha256').update(readFileSync(requirements)).digest('hex');
  const ready = () => existsSync(python) && stampOf(folder) === wanted;

  if (ready()) {
    return done({ python, made: false });
  }
  // Loaded only now: a call that finds the environment complete should cost nothing.
  const { lock } = await import('../stack/lock.ts');
  const held = await lock(join(root, '.local', 'python.lock'), () =>
    report('Another process is making .venv; waiting for it'),
  );
  try {
    if (ready()) {
      return done({ python, made: false });
    }
    if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
      // venv would empty what the link points to: perhaps another checkout's environment.
      return failure(
        `${folder} is a link to an environment of another lock file. Remove the link and run the command again.`,
      );
    }
    const interpreter = findInterpreter(options.searchPath);
    if (!interpreter.ok) {
      return interpreter;
    }
    const { command, version } = interpreter.value;
    report(`Making .venv with Python ${version} (once; a few seconds, and the downloads)`);
    const venv = await run(command, ['-m', 'venv', '--clear', folder], options);
    if (venv.code !== 0) {
      return failure(`Could not make ${folder} with ${command} -m venv.`, venv.lines);
    }
    const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', ...AS_LOCKED, '-r'];
    const installer = await run(python, [...pip, join(root, UV_LOCK)], options);
    if (installer.code !== 0) {
      return failure(`pip could not install ${UV_LOCK}. ${CHECK_NETWORK}`, installer.lines);
    }
    const install = await run(
      join(folder, 'bin', 'uv'),
      ['pip', 'install', '--quiet', '--python', python, ...AS_LOCKED, '-r', requirements],
      options,
      uvIndex(python, environmentWith(options.searchPath)),
    );
    if (install.code !== 0) {
      return failure(`uv could not install local/python/requirements.lock. ${CHECK_NETWORK}`, install.lines);
    }
    writeFileSync(join(folder, STAMP), wanted);
    return done({ python, made: true });
  } finally {
    held.release();
  }
}

/** The hash the environment was made from; null when there is none or its making was cut short. */
function stampOf(folder: string): string | null {
  const stamp = join(folder, STAMP);
  return existsSync(stamp) ? readFileSync(stamp, 'utf8').trim() : null;
}

interface Interpreter {
  command: string;
  version: string;
}

/** The first Python that is new enough and can make environments. */
function findInterpreter(searchPath: string | undefined): Outcome<Interpreter> {
  const env = environmentWith(searchPath);
  let tooOld: string | null = null;
  for (const command of INTERPRETERS) {
    const asked = spawnSync(command, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], {
      env,
      encoding: 'utf8',
    });
    const version = versionOf(asked);
    if (version === null) {
      continue;
    }
    if (version.major < OLDEST.major || (version.major === OLDEST.major && version.minor < OLDEST.minor)) {
      tooOld ??= version.text;
      continue;
    }
    // Debian splits venv's own parts (ensurepip) into a package of its own.
    if (spawnSync(command, ['-c', 'import venv, ensurepip'], { env }).status !== 0) {
      return failure(
        `${command} has no venv module. Install it (Debian, Ubuntu: apt install python3-venv) and run the command again.`,
      );
    }
    return done({ command, version: version.text });
  }
  const wanted = `Python ${OLDEST.major}.${OLDEST.minor} or newer`;
  const advice = `Install ${wanted} (Debian, Ubuntu: apt install python3 python3-venv) and run the command again.`;
  return failure(tooOld === null ? `python3 was not found. ${advice}` : `python3 is ${tooOld}, too old. ${advice}`);
}

function versionOf(asked: SpawnSyncReturns<string>): { major: number; minor: number; text: string } | null {
  const match = asked.status === 0 ? /^(\d+)\.(\d+)\.\d+$/.exec(asked.stdout.trim()) : null;
  return match === null ? null : { major: Number(match[1]), minor: Number(match[2]), text: match[0] };
}

function environmentWith(searchPath: string | undefined): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, ...(searchPath === undefined ? {} : { PATH: searchPath }) };
  // Set by an active environment or by the user's shell; either would make pip look at the wrong packages.
  delete env['PYTHONHOME'];
  delete env['PYTHONPATH'];
  delete env['VIRTUAL_ENV'];
  return env;
}

/**
 * The package index that pip is configured to use, as a variable for uv, which does not read pip's files. A setting of
 * uv's own wins.
 */
function uvIndex(python: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (env['UV_DEFAULT_INDEX'] !== undefined || env['UV_INDEX_URL'] !== undefined) {
    return {};
  }
  // One line per setting, such as: global.index-url='https://example.com/simple'
  const listed = spawnSync(python, ['-m', 'pip', 'config', 'list'], { env, encoding: 'utf8' });
  const index = /\.index-url='([^']+)'$/m.exec(listed.stdout)?.[1];
  return index === undefined ? {} : { UV_DEFAULT_INDEX: index };
}

/** Runs a program to its end; `lines` are the last lines of its output. Rejects with the reason of an aborted `signal`. */
async function run(
  command: string,
  args: string[],
  options: EnvironmentOptions,
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number; lines: string[] }> {
  const { startProgram } = await import('../stack/program.ts');
  const program = await startProgram({
    command,
    args,
    cwd: options.root,
    env: { ...environmentWith(options.searchPath), ...env },
    log: join(options.root, '.local', 'python.log'),
  });
  const stop = () => void program.stop();
  options.signal?.addEventListener('abort', stop);
  const { code } = await program.exited;
  await program.stop();
  options.signal?.removeEventListener('abort', stop);
  options.signal?.throwIfAborted();
  return {
    code: code ?? 1,
    lines: program
      .tail()
      .filter((line) => line.trim() !== '')
      .slice(-SHOWN_LINES),
  };
}
