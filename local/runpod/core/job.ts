/** RunPod's status words (docs: serverless/endpoints/job-states). */
export type RunpodStatus = 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'TIMED_OUT';

export type FinalStatus = Exclude<RunpodStatus, 'IN_QUEUE' | 'IN_PROGRESS'>;

/** A submitted job, validated. Times are milliseconds. */
export interface Submission {
  id: string;
  source: 'run' | 'runsync';
  input: Record<string, unknown>;
  webhook: string | null;
  executionTimeoutMs: number;
  ttlMs: number;
  lowPriority: boolean;
  /** Passed to the worker unchanged. */
  s3Config: unknown;
}

/** The result that a worker posted. A missing key is kept missing: the SDK drops an `{}` output. */
export interface WorkerResult {
  output?: unknown;
  error?: unknown;
}

/** One stored job. Times are milliseconds since the epoch. */
export interface RunpodJob extends Submission {
  status: RunpodStatus;
  submittedAt: number;
  /** When it (last) entered the queue: submission, retry or requeue. */
  queuedAt: number;
  startedAt: number | null;
  finishedAt: number | null;
  worker: string | null;
  result: WorkerResult;
  /** Chunks of a generator that no `/stream` call has fetched yet. */
  chunks: unknown[];
  /** Number of requeues, by `/retry` or because its worker was lost. */
  retries: number;
}

/** A new job in the queue. */
export function newJob(submission: Submission, now: number): RunpodJob {
  return {
    ...submission,
    status: 'IN_QUEUE',
    submittedAt: now,
    queuedAt: now,
    startedAt: null,
    finishedAt: null,
    worker: null,
    result: {},
    chunks: [],
    retries: 0,
  };
}

export function isFinal(status: RunpodStatus): status is FinalStatus {
  return status !== 'IN_QUEUE' && status !== 'IN_PROGRESS';
}

/**
 * The body of `/status`, `/runsync` and `/status-sync`. It has `output` and `error` only if the worker posted them, and
 * each time only once it is known.
 */
export function statusView(job: RunpodJob): Record<string, unknown> {
  return {
    ...(job.startedAt === null ? {} : { delayTime: job.startedAt - job.queuedAt }),
    ...(job.startedAt === null || job.finishedAt === null ? {} : { executionTime: job.finishedAt - job.startedAt }),
    id: job.id,
    ...('output' in job.result ? { output: job.result.output } : {}),
    ...('error' in job.result ? { error: job.result.error } : {}),
    ...(job.retries === 0 ? {} : { retries: job.retries }),
    status: job.status,
    ...(job.worker === null ? {} : { workerId: job.worker }),
  };
}

/** The body of the completion webhook: the status, the whole input and the webhook URL itself. */
export function webhookBody(job: RunpodJob): Record<string, unknown> {
  return { ...statusView(job), input: job.input, webhook: job.webhook };
}

/** The body of job-take. */
export function workerTicket(job: RunpodJob): Record<string, unknown> {
  return {
    id: job.id,
    input: job.input,
    ...(job.webhook === null ? {} : { webhook: job.webhook }),
    ...(job.s3Config === undefined ? {} : { s3Config: job.s3Config }),
    ...(job.retries === 0 ? {} : { retries: job.retries }),
  };
}
