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
  /** Most workers at once. */
  max: z.int().min(0).default(3),
  /** Seconds without a job after which a worker is stopped. */
  idle_timeout_s: z.number().positive().default(IDLE_TIMEOUT_S),
  /** Program and arguments of one worker. Left out: nothing is started, workers attach by themselves. */
  command: z.array(z.string()).min(1).optional(),
  /** Added to the environment of the platform itself. */
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().optional(),
  /** Seconds until the first job-take; a slower worker is killed. */
  init_timeout_s: z.number().positive().default(INIT_TIMEOUT_S),
  /** Seconds a worker may go on with a cancelled or timed-out job before it is killed. */
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
  /** Seconds a job waits before it starts one more worker. RunPod's default is 4; here 0, nobody likes to wait. */
  queue_delay_s: z.number().min(0).default(0),
  /** Fail the job of a lost worker, or put it back this often. */
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
  /** Keys clients may use. Left out: any key that is not empty. */
  api_keys: z.array(z.string().min(1)).min(1).optional(),
  /**
   * What workers are given as RUNPOD_AI_API_KEY and must then send. Left out: they are given one and may send any,
   * because the SDK prefers the key in a developer's ~/.runpod/config.toml to the one in its environment.
   */
  worker_api_key: z.string().min(1).optional(),
  /** Folder for one log file per worker. Left out: no files. */
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

/** Checks settings. A problem names the field and what is wrong with it, on one line. */
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
