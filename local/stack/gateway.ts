import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { type Outcome, done, failure } from './outcome.ts';
import { type Program, type ProgramOptions, startProgram } from './program.ts';
import { type Secrets, writePrivate } from './secrets.ts';

/** The pair `wrangler.jsonc` names under `local_dev`; it opens nothing but the R2 of this machine. */
const LOCAL_R2 = { accessKeyId: 'local', secretAccessKey: 'local-secret' };

/** The one binding of D1 in `wrangler.jsonc`. */
const DATABASE = 'DB';

/** In a state directory: the hash of the migrations that its database has. */
const MIGRATIONS_STAMP = 'migrations.sha256';

/** wrangler needs about a second, more on a busy machine. */
const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 25;

/** wrangler prints this and then waits for a change of the source. */
const BUILD_FAILED = 'Build failed with';

/** One entry of `ENDPOINTS` (docs/reference/configuration.md). */
export type EndpointSettings = { runpod_id: string } & Record<string, unknown>;

export interface GatewayOptions {
  root: string;
  /** State of D1, R2 and the Durable Objects, logs and stamps. */
  directory: string;
  port: number;
  runpodUrl: string;
  /** Client-side names of endpoints and the RunPod endpoint behind each. */
  endpoints: Record<string, EndpointSettings>;
  secrets: Secrets;
  /** `POLICY` and `LIMITS` of docs/reference/configuration.md. */
  policy: Record<string, number>;
  limits: Record<string, number>;
  /** Another Worker's entry that wraps the gateway's, for measuring; `wrangler.jsonc` names the gateway's own. */
  entry?: string;
  /** Where the inspector of the gateway's isolate listens; any free port where it is not named. */
  inspectorPort?: number;
  signal: AbortSignal;
}

/** The gateway as a process: `wrangler dev` with workerd below it, in one group. */
export interface Gateway {
  readonly url: string;
  readonly pid: number;
  /** Resolves when the process ends without having been asked to; a line that says so and the end of its log. */
  readonly died: Promise<string[]>;
  /** Kills every process of the gateway at once, as a crash or a lost machine would. */
  kill9(): Promise<void>;
  /** Starts the gateway again on the same port and the same state; stops it first if it runs. */
  restart(): Promise<Outcome<null>>;
  stop(): Promise<void>;
  /** The last lines of its log. */
  tail(): string[];
}

/** Applies new migrations to the local D1, then starts the gateway and waits until it is ready. */
export async function startGateway(options: GatewayOptions): Promise<Outcome<Gateway>> {
  const migrated = await applyMigrations(options);
  if (!migrated.ok) {
    return migrated;
  }
  writePrivate(environmentFile(options), dotenv(variablesOf(options)));
  const url = originOf(options);
  let unwanted: (lines: string[]) => void = () => undefined;
  const died = new Promise<string[]>((resolve) => {
    unwanted = resolve;
  });

  let program: Program | null = null;
  const reportDeath = async (started: Program): Promise<void> => {
    await started.exited;
    if (program === started) {
      unwanted(started.tail());
    }
  };
  const launch = async (): Promise<Outcome<null>> => {
    const started = await startProgram(wrangler(options, serveArguments(options), 'gateway.log'));
    program = started;
    void reportDeath(started);
    const ready = await waitUntilReady(`${url}/readyz`, started, options.signal);
    return ready.ok ? ready : failure(ready.message, started.tail());
  };
  const end = async (how: 'stop' | 'kill9'): Promise<void> => {
    const ending = program;
    program = null;
    await ending?.[how]();
  };

  const launched = await launch();
  if (!launched.ok) {
    await end('stop');
    return launched;
  }
  return done({
    url,
    get pid() {
      return program?.pid ?? 0;
    },
    died,
    kill9: () => end('kill9'),
    restart: async () => {
      await end('stop');
      return launch();
    },
    stop: () => end('stop'),
    tail: () => program?.tail() ?? [],
  });
}

/** The files of `migrations/`, as one hash: a state directory with this stamp has exactly these migrations. */
export function migrationsHash(root: string): string {
  const folder = join(root, 'migrations');
  const hash = createHash('sha256');
  for (const name of existsSync(folder) ? readdirSync(folder).sort() : []) {
    if (name.endsWith('.sql')) {
      hash
        .update(name)
        .update('\0')
        .update(readFileSync(join(folder, name)))
        .update('\0');
    }
  }
  return hash.digest('hex');
}

/** Runs `wrangler d1 migrations apply`, unless the stamp says that this state has exactly these migrations. */
export async function applyMigrations(
  options: Pick<GatewayOptions, 'root' | 'directory' | 'signal'>,
): Promise<Outcome<null>> {
  const wanted = migrationsHash(options.root);
  const stamp = join(options.directory, MIGRATIONS_STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return done(null);
  }
  const args = ['d1', 'migrations', 'apply', DATABASE, '--local', `--persist-to=${stateOf(options)}`];
  const program = await startProgram(wrangler(options, args, 'migrations.log'));
  const stop = () => void program.stop();
  options.signal.addEventListener('abort', stop);
  const { code } = await program.exited;
  options.signal.removeEventListener('abort', stop);
  if (code !== 0) {
    return failure('The database migrations could not be applied.', program.tail());
  }
  await program.stop();
  writeFileSync(stamp, wanted);
  return done(null);
}

function serveArguments(options: GatewayOptions): string[] {
  return [
    'dev',
    ...(options.entry === undefined ? [] : [options.entry]),
    '--ip=127.0.0.1',
    `--port=${options.port}`,
    `--inspector-port=${options.inspectorPort ?? 0}`,
    `--persist-to=${stateOf(options)}`,
    `--env-file=${environmentFile(options)}`,
    '--show-interactive-dev-session=false',
  ];
}

function wrangler(options: Pick<GatewayOptions, 'root' | 'directory'>, args: string[], log: string): ProgramOptions {
  return wranglerProgram(options, [...args, '--config', join(options.root, 'wrangler.jsonc')], log);
}

/** wrangler without questions, telemetry, or files outside `directory`. */
export function wranglerProgram(
  options: Pick<GatewayOptions, 'root' | 'directory'>,
  args: string[],
  log: string,
): ProgramOptions {
  return {
    command: process.execPath,
    args: [join(options.root, 'node_modules/wrangler/bin/wrangler.js'), ...args],
    cwd: options.root,
    env: {
      ...process.env,
      // No questions, no telemetry, no look-ups on the network, nothing written outside the state directory.
      CI: '1',
      WRANGLER_SEND_METRICS: 'false',
      WRANGLER_HIDE_BANNER: 'true',
      WRANGLER_WRITE_LOGS: 'false',
      WRANGLER_LOG_PATH: join(options.directory, 'logs', 'wrangler'),
      WRANGLER_REGISTRY_PATH: join(options.directory, 'registry'),
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
      // Its own traces and object browser: they cost a third of workerd's time, and a table and a write in every new object.
      X_LOCAL_OBSERVABILITY: 'false',
      X_LOCAL_EXPLORER: 'false',
      NO_COLOR: '1',
    },
    log: join(options.directory, 'logs', log),
  };
}

/** Every variable and secret of docs/reference/configuration.md. */
function variablesOf(options: GatewayOptions): Record<string, string> {
  const url = originOf(options);
  return {
    PUBLIC_URL: url,
    RUNPOD_BASE_URL: options.runpodUrl,
    ENDPOINTS: JSON.stringify(options.endpoints),
    POLICY: JSON.stringify(options.policy),
    LIMITS: JSON.stringify(options.limits),
    R2_S3_ENDPOINT: `${url}/cdn-cgi/local/r2/s3`,
    TOKEN_SECRET: options.secrets.tokenSecret,
    ADMIN_TOKEN: options.secrets.adminToken,
    RUNPOD_API_KEY: options.secrets.runpodApiKey,
    R2_ACCESS_KEY_ID: LOCAL_R2.accessKeyId,
    R2_SECRET_ACCESS_KEY: LOCAL_R2.secretAccessKey,
  };
}

/** dotenv reads single-quoted values literally; none of these values has a single quote. */
function dotenv(variables: Record<string, string>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}='${value}'\n`)
    .join('');
}

function originOf(options: GatewayOptions): string {
  return `http://127.0.0.1:${options.port}`;
}

function stateOf(options: Pick<GatewayOptions, 'directory'>): string {
  return join(options.directory, 'state');
}

function environmentFile(options: GatewayOptions): string {
  return join(options.directory, 'gateway.env');
}

const problemSchema = z.object({ code: z.string() });

/** Messages for the codes of `/readyz` that waiting does not resolve. */
const NOT_READY: Readonly<Record<string, string>> = {
  misconfigured: 'The gateway is misconfigured: a setting is missing, and its log names it.',
  database_outdated: 'The local database lacks a migration. Remove the state directory and start again.',
};

/** Polls until 200. Some errors are final: waiting does not resolve them. */
export async function waitUntilReady(url: string, program: Program, signal: AbortSignal): Promise<Outcome<null>> {
  const giveUp = AbortSignal.any([signal, AbortSignal.timeout(READY_TIMEOUT_MS)]);
  while (!giveUp.aborted) {
    if (!program.running) {
      return failure('The gateway (wrangler dev) ended while it started.');
    }
    if (program.tail().some((line) => line.includes(BUILD_FAILED))) {
      return failure('The gateway does not compile.');
    }
    try {
      const response = await fetch(url, { signal: giveUp });
      const body: unknown = await response.json().catch(() => null);
      if (response.ok) {
        return done(null);
      }
      const problem = problemSchema.safeParse(body);
      const final = problem.success ? NOT_READY[problem.data.code] : undefined;
      if (final !== undefined) {
        return failure(final);
      }
    } catch {
      // Not listening yet.
    }
    await delay(READY_POLL_MS, undefined, { signal: giveUp }).catch(() => undefined);
  }
  return signal.aborted
    ? failure('Stopped.')
    : failure(`The gateway was not ready within ${READY_TIMEOUT_MS / 1000} s.`);
}
