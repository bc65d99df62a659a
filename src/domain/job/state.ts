import type { JobError, Output, Progress, Resolved, Stage, Status } from '../../contract/job.ts';
import type { FallbackEndpoint, JobOptions } from '../../contract/new-job.ts';
import { WORKER_REPORTS, type WorkerKind } from '../../contract/run.ts';
import type { RunReport, WorkerInfo } from '../../contract/worker.ts';
import { storedJson } from '../../lib/stored-json.ts';

/**
 * The state of a job between signals: one JSON value in the Job object's storage. Times are ms since the epoch. The
 * graph, the inputs and the log are stored separately.
 */
export type JobState = {
  readonly id: string;
  readonly account: string;
  /** The id of the API key that submitted the job. */
  readonly key: string;
  /** US dollars per second on a GPU at the time of the submit; null: no price. */
  readonly price_per_second: number | null;
  readonly endpoint: string;
  /** The endpoints where attempts may run while the job's own endpoint accepts no runs. */
  readonly fallbacks: readonly FallbackEndpoint[];
  /** The kind of worker on its endpoint and its fallbacks. */
  readonly worker: WorkerKind;
  readonly options: JobOptions;
  readonly metadata: Record<string, string>;
  readonly resolved: Resolved;
  readonly created_at: number;
  /** The time from the request until the job was stored; null when it was not measured. */
  readonly submit_ms: number | null;
  readonly deadline: number;
  /** When the job expires unless a worker has claimed it; null: only the deadline counts. */
  readonly start_deadline: number | null;
  readonly retention_ms: number;
  status: Status;
  stage: Stage | null;
  started_at: number | null;
  completed_at: number | null;
  progress: Progress | null;
  outputs: Output[];
  error: JobError | null;
  timings: Record<string, number>;
  /** The job waits for a slot of its account: when to ask again. Null when it has a slot. */
  waiting: { ask_at: number } | null;
  /** Set once, by the first cancel of the unfinished job. */
  cancel: { at: number; close_at: number } | null;
  attempts: Attempt[];
  /** The client has erased the job. It is hidden, and is deleted after all notifications of its end. */
  erased: boolean;
  /** The number of the last event in the log. */
  last_event: number;
  /** The size of all events in the log, as JSON. */
  logged_bytes: number;
  /**
   * The number of progress events in the log, the time of the last, and the node changes since then, which the log does
   * not contain yet.
   */
  progress_log: { count: number; at: number; nodes: Record<string, unknown> };
};

/**
 * One try. `phase`:
 * - `sending`: `/run` will be called, is being called, or must be called again at `due_at`
 * - `unknown`: `/run` was called with an unknown outcome; a claim decides, or `due_at` passes
 * - `sent`: RunPod has accepted it
 * - `claimed`: a worker has claimed it
 * - `finished`: it has ended; a worker that still runs it must stop
 */
export type Attempt = {
  readonly number: number;
  /** The name of the endpoint at which `/run` is called. Set before the call. */
  endpoint: string;
  phase: 'sending' | 'unknown' | 'sent' | 'claimed' | 'finished';
  outcome: 'succeeded' | 'failed' | 'canceled' | 'lost' | 'superseded' | null;
  created_at: number;
  /** When RunPod confirmed the run; null: it has not, or its response was lost. */
  accepted_at: number | null;
  claimed_at: number | null;
  ended_at: number | null;
  run_id: string | null;
  claim: string | null;
  worker: WorkerInfo | null;
  /** The worker's final report about its environment; null until then. */
  report: RunReport | null;
  error: JobError | null;
  /** The number of the worker's log messages so far, including those that were not stored. */
  log_messages: number;
  /** The number of the worker's last stored channel message. */
  acked: number;
  channel_open: boolean;
  /** Why the run is held back; the error of the job if its time ends before that changes. */
  held: JobError | null;
  /** The number of temporary refusals of `/run`. */
  refusals: number;
  /** When to act on `sending` (after a temporary refusal) or `unknown`. */
  due_at: number | null;
  /** When RunPod's webhook last caused a poll of the status. */
  hinted_at: number | null;
  /** When to poll RunPod for the status next. */
  check_at: number | null;
  /** When a claimed attempt without an open channel counts as lost. */
  lost_at: number | null;
  /** The run has finished at RunPod without a report: when to stop waiting for the report. */
  settle_at: number | null;
  /** The error of the attempt at `settle_at`. */
  settle_error: JobError | null;
  /**
   * `/run` is being called. Stored only when an unknown outcome would be final, to distinguish it from a call that was
   * never made.
   */
  called: boolean;
  /** Its run is being canceled at RunPod because another endpoint would accept it. */
  leaving: boolean;
  /**
   * The number of polls since the last change; each further poll comes later. Only for runs that no worker reports on.
   */
  looks: number;
  /** Its results are being moved from RunPod's response into R2. */
  moving: boolean;
  /** GPU time as RunPod measures it, in ms; null when the worker measures it, or when it is unknown. */
  execution_ms: number | null;
  /** Since when the graph has been executing, in ms; null while it does not execute or the worker is disconnected. */
  executing_since: number | null;
  /** How long the graph executed before `executing_since`: from the worker's final report, else from its messages. */
  executed_ms: number;
};

/** The current attempt; none after the job has finished. */
export const currentAttempt = (state: JobState): Attempt | undefined => {
  const last = state.attempts.at(-1);
  return last?.phase === 'finished' ? undefined : last;
};

/**
 * Fields that were added later, with their values for a job that was stored without them, because stored jobs outlive
 * upgrades. A change that adds a field to `JobState` or `Attempt` must add it here.
 */
const ADDED = {
  fallbacks: [],
  logged_bytes: 0,
  start_deadline: null,
  submit_ms: null,
  worker: 'worker-gpu',
} satisfies Partial<JobState>;
const ADDED_TO_ATTEMPT = {
  held: null,
  report: null,
  accepted_at: null,
  called: true,
  leaving: false,
  looks: 0,
  moving: false,
  execution_ms: null,
  executing_since: null,
  executed_ms: 0,
  log_messages: 0,
} satisfies Partial<Attempt>;
const ADDED_TO_PROGRESS_LOG = { nodes: {} } satisfies Partial<JobState['progress_log']>;
const ADDED_TO_OPTIONS = { metadata: true } satisfies Partial<JobOptions>;

/**
 * Whether workers claim the job's runs and report on them. Otherwise only the provider reports the outcome of a run.
 */
export const workersReport = (state: JobState): boolean => WORKER_REPORTS[state.worker];

/** An attempt as written by any release. */
type StoredAttempt = Omit<Attempt, 'endpoint'> & Partial<Pick<Attempt, 'endpoint'>>;

/** Reads the state from its stored text, which this or an older gateway wrote. */
export function readState(text: string): JobState {
  const stored = storedJson<Omit<JobState, 'attempts'> & { attempts: StoredAttempt[] }>(text);
  return {
    ...ADDED,
    ...stored,
    progress_log: { ...ADDED_TO_PROGRESS_LOG, ...stored.progress_log },
    options: { ...ADDED_TO_OPTIONS, ...stored.options },
    // An attempt without an endpoint was stored when an attempt always ran on the job's own endpoint.
    attempts: stored.attempts.map((attempt) => ({ ...ADDED_TO_ATTEMPT, endpoint: stored.endpoint, ...attempt })),
  };
}
