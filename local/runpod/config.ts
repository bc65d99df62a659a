import { z } from 'zod';
import {
  EXECUTION_TIMEOUT_MS,
  IDLE_TIMEOUT_S,
  INIT_TIMEOUT_S,
  MISSED_PINGS,
  PING_INTERVAL_MS,
  STOP_GRACE_S,
  TERM_GRACE_S,
} from './limits.ts';

const workersSchema = z.strictObject({
  /** Workers kept running even when idle. */
  min: z.int().min(0).default(0),
  /** Maximum number of workers. */
  max: z.int().min(0).default(3),
  /** Seconds without a job after which a worker is stopped. */
  idle_timeout_s: z.number().positive().default(IDLE_TIMEOUT_S),
  /** Program and arguments of one worker. Without it, no worker is started; workers attach themselves. */
  command: z.array(z.string()).min(1).optional(),
  /** Added to the environment of the platform itself. */
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().optional(),
  /** Seconds until the first job-take; a slower worker is killed. */
  init_timeout_s: z.number().positive().default(INIT_TIMEOUT_S),
  /** Seconds until a worker that continues a cancelled or timed-out job is killed. */
  stop_grace_s: z.number().positive().default(STOP_GRACE_S),
  /** Seconds between SIGTERM and SIGKILL. */
  term_grace_s: z.number().positive().default(TERM_GRACE_S),
});

const endpointSchema = z.strictObject({
  /** As in the URL: `/v2/{id}/…`. */
  id: z.string().regex(/^[A-Za-z0-9_-]+$/, 'only letters, digits, - and _'),
  workers: workersSchema,
  /** Default of `policy.executionTimeout`, in milliseconds. */
  execution_timeout_ms: z.int().positive().default(EXECUTION_TIMEOUT_MS.default),
  /** Seconds a job waits before it starts one more worker. RunPod's default is 4; here it is 0, to save time. */
  queue_delay_s: z.number().min(0).default(0),
  /** Fails the job of a lost worker, or requeues it up to this number of times. */
  on_worker_lost: z
    .union([
      z.strictObject({ action: z.literal('fail') }),
      z.strictObject({ action: z.literal('requeue'), times: z.int().min(1).default(1) }),
    ])
    .default({ action: 'fail' }),
  /** RUNPOD_PING_INTERVAL. The SDK counts in whole seconds and spins below one. */
  ping_interval_ms: z.int().min(1000).default(PING_INTERVAL_MS),
  /** Pings a silent attached worker may miss. */
  missed_pings: z.int().min(1).default(MISSED_PINGS),
  /** Progress that comes after the end makes a job IN_PROGRESS again (runpod-python#250). */
  late_progress_reopens: z.boolean().default(false),
});

const configSchema = z.strictObject({
  host: z.string().default('127.0.0.1'),
  /** 0 picks a free port. */
  port: z.int().min(0).max(65535).default(8200),
  /** Keys of clients. Without it, any non-empty key is accepted. */
  api_keys: z.array(z.string().min(1)).min(1).optional(),
  /**
   * RUNPOD_AI_API_KEY of workers, which they must send. Without it, workers get a key but may send any other,
   * because the SDK prefers the key in a developer's ~/.runpod/config.toml to the one in its environment.
   */
  worker_api_key: z.string().min(1).optional(),
  /** Folder for one log file per worker. Without it, no files are written. */
  log_dir: z.string().optional(),
  /** Also write workers' output to stdout, each line behind its worker's name. */
  echo_worker_logs: z.boolean().default(false),
  endpoints: z
    .array(endpointSchema)
    .min(1)
    .refine((all) => new Set(all.map((each) => each.id)).size === all.length, 'endpoint ids must differ'),
});

/** Settings as a person writes them; see README.md for each field. */
export type RunpodOptions = z.input<typeof configSchema>;
/** Settings with every default filled in. */
export type RunpodConfig = z.output<typeof configSchema>;
export type EndpointConfig = z.output<typeof endpointSchema>;

export type ParsedConfig = { ok: true; config: RunpodConfig } | { ok: false; problem: string };

/** Checks settings. A problem is one line with the field and its error. */
export function parseConfig(options: unknown): ParsedConfig {
  const parsed = configSchema.safeParse(options);
  if (parsed.success) {
    return { ok: true, config: parsed.data };
  }
  const problem = parsed.error.issues
    .map((issue) => `${issue.path.join('.') || 'config'}: ${issue.message}`)
    .join('; ');
  return { ok: false, problem };
}
