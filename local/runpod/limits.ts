/**
 * RunPod's numbers, each with its source. "ops" is the docs page
 * serverless/endpoints/operation-reference, "send" is send-requests, "conf" is
 * endpoint-configurations (runpod/docs a900806e, 2026-08-20); "sdk" is runpod-python 1.12.0.
 * Everything marked "ours" is not documented by RunPod and chosen here.
 */

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Largest body of `/run` in bytes (ops: 10 MB; taken as decimal megabytes). */
export const RUN_BODY_BYTES = 10_000_000;
/** Largest body of `/runsync` in bytes (ops: 20 MB). */
export const RUNSYNC_BODY_BYTES = 20_000_000;
/** Largest result a worker may post (worker-comfyui#129: 400 above 20 MB). */
export const RESULT_BODY_BYTES = 20_000_000;
/** Largest streamed chunk; longer text is split (ops: 1 MB). */
export const STREAM_CHUNK_BYTES = 1_000_000;

/** How long a finished `/run` job can be read (ops: 30 minutes). */
export const RUN_RETENTION_MS = 30 * MINUTE_MS;
/** How long a finished `/runsync` job can be read (ops: 1 minute). */
export const RUNSYNC_RETENTION_MS = MINUTE_MS;

/** `policy.ttl`: default 24 h, 10 s to 7 d, counted from submission (send). */
export const TTL_MS = { default: DAY_MS, min: 10 * SECOND_MS, max: 7 * DAY_MS };
/** `policy.executionTimeout`: default 600 s, 5 s to 7 d, counted while running (send, conf). */
export const EXECUTION_TIMEOUT_MS = { default: 10 * MINUTE_MS, min: 5 * SECOND_MS, max: 7 * DAY_MS };

/** `?wait=` of `/runsync` and `/status-sync`: default 90 s, 1 s to 300 s (ops). */
export const WAIT_MS = { default: 90 * SECOND_MS, min: SECOND_MS, max: 300 * SECOND_MS };
/** Wait of `/stream` without a new chunk (ours: the npm client polls without a pause). */
export const STREAM_HOLD_MS = SECOND_MS;

/** Tries of one webhook, and the pause between them (send: 2 more tries, 10 s apart). */
export const WEBHOOK_TRIES = 3;
export const WEBHOOK_RETRY_MS = 10 * SECOND_MS;
/** Time after which a webhook receiver counts as silent (ours). */
export const WEBHOOK_ANSWER_MS = 10 * SECOND_MS;

/** RUNPOD_AI_API_KEY of workers when the config names none (ours). */
export const WORKER_KEY = 'local-runpod-worker-key';
/** Wait of job-take and job-stop (sdk: times out after 90 s; ours is below that). */
export const WORKER_POLL_MS = 85 * SECOND_MS;
/** Wait before a stopping worker gets "no job" (ours: prevents a busy loop). */
export const STOPPING_POLL_MS = 250;
/** RUNPOD_PING_INTERVAL (sdk: default 10 s). */
export const PING_INTERVAL_MS = 10 * SECOND_MS;
/** Missed pings after which an attached worker counts as gone (ours). */
export const MISSED_PINGS = 3;
/** Keep-alive of an idle connection: longer than any client's, so that no client writes into a closed one (ours). */
export const KEEP_ALIVE_MS = 120 * SECOND_MS;
/** Idle time after which a worker is stopped (conf: 5 s). */
export const IDLE_TIMEOUT_S = 5;
/** Cold start after which a worker is unhealthy (docs: 7 minutes). */
export const INIT_TIMEOUT_S = 7 * 60;
/**
 * Time between a job-take and the first job-stop for that job (ours: the SDK drops a stop for a job that it has not begun,
 * and it polls for new jobs every 100 ms).
 */
export const STOP_AFTER_TAKE_MS = 250;
/** Time until a worker that continues a stopped job is killed (ours). */
export const STOP_GRACE_S = 10;
/** Between SIGTERM and SIGKILL of a worker (ours). */
export const TERM_GRACE_S = 10;
/** Pause before a worker that died before its first job-take is started again, doubled each time (ours). */
export const CRASH_BACKOFF_MS = { first: SECOND_MS, max: 30 * SECOND_MS };

/** The window of every rate limit (ops: per 10 seconds). */
export const RATE_WINDOW_MS = 10 * SECOND_MS;

/** Calls per window and open at once, per key and endpoint (ops). An operation without a row has no limit. */
export const RATE_LIMITS: Readonly<Record<string, { perWindow: number; concurrent: number }>> = {
  run: { perWindow: 1000, concurrent: 200 },
  runsync: { perWindow: 2000, concurrent: 400 },
  status: { perWindow: 2000, concurrent: 400 },
  'status-sync': { perWindow: 2000, concurrent: 400 },
  stream: { perWindow: 2000, concurrent: 400 },
  cancel: { perWindow: 100, concurrent: 20 },
  'purge-queue': { perWindow: 2, concurrent: Number.POSITIVE_INFINITY },
  requests: { perWindow: 10, concurrent: 2 },
};
