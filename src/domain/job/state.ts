import type { JobError, Output, Progress, Resolved, Stage, Status } from '../../contract/job.ts';
import type { FallbackEndpoint, JobOptions } from '../../contract/new-job.ts';
import { WORKER_REPORTS, type WorkerKind } from '../../contract/run.ts';
import type { RunReport, WorkerInfo } from '../../contract/worker.ts';
import { storedJson } from '../../lib/stored-json.ts';

/**
 * What a job remembers between signals: one JSON value in the Job object's storage.
 * Times are ms since the epoch. The graph, the inputs and the log live beside it, not in it.
 */
export type JobState = {
  readonly id: string;
  readonly account: string;
  /** Id of the API key that submitted it. */
  readonly key: string;
  /** US dollars per second on a GPU when it was submitted; null: no price. */
  readonly price_per_second: number | null;
  readonly endpoint: string;
  /** Where its attempts may run while its own endpoint takes nothing. */
  readonly fallbacks: readonly FallbackEndpoint[];
  /** What runs on its endpoint and on its fallbacks. */
  readonly worker: WorkerKind;
  readonly options: JobOptions;
  readonly metadata: Record<string, string>;
  readonly resolved: Resolved;
  readonly created_at: number;
  /** From the request to the job being stored; null where it was not measured. */
  readonly submit_ms: number | null;
  readonly deadline: number;
  /** When it expires unless a worker has claimed it by then; null: the deadline alone counts. */
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
  /** The account has not let it begin: when to ask again. Null once it has. */
  waiting: { ask_at: number } | null;
  /** Set once, by the first cancel that found the job not terminal. */
  cancel: { at: number; close_at: number } | null;
  attempts: Attempt[];
  /** The client has erased the job: nobody sees it any more, and it leaves as soon as everyone was told how it ended. */
  erased: boolean;
  /** Number of the last event in the log. */
  last_event: number;
  /** Bytes of all events in the log, as JSON. */
  logged_bytes: number;
  /** Progress events in the log, when the last was written, and what changed of nodes since: the log is thinner than what is shown live. */
  progress_log: { count: number; at: number; nodes: Record<string, unknown> };
};

/**
 * One try. `phase`:
 * - `sending`: `/run` is to be called, or is being called, or must be called again at `due_at`
 * - `unknown`: `/run` was called and nobody knows with what result; a claim decides, or `due_at` passes
 * - `sent`: RunPod has it
 * - `claimed`: a worker has it
 * - `over`: it counts no more; a worker that still runs it is told so
 */
export type Attempt = {
  readonly number: number;
  /** Name of the endpoint that `/run` is called at: settled before the call. */
  endpoint: string;
  phase: 'sending' | 'unknown' | 'sent' | 'claimed' | 'over';
  outcome: 'succeeded' | 'failed' | 'canceled' | 'lost' | 'superseded' | null;
  created_at: number;
  /** When RunPod said that it took the run; null: it has not, or nobody heard it say so. */
  accepted_at: number | null;
  claimed_at: number | null;
  ended_at: number | null;
  run_id: string | null;
  claim: string | null;
  worker: WorkerInfo | null;
  /** What the worker said at the end of what it ran with; null until then. */
  report: RunReport | null;
  error: JobError | null;
  /** Log messages of the worker so far, those that were not kept included. */
  log_messages: number;
  /** Number of the worker's last stored channel message. */
  acked: number;
  channel_open: boolean;
  /** Why nothing has come of it so far; what the job fails with when its time is up before anything does. */
  held: JobError | null;
  /** How often `/run` was refused for now. */
  refusals: number;
  /** When to act on `sending` (refused for now) or `unknown`. */
  due_at: number | null;
  /** When RunPod's webhook last had us ask for the status. */
  hinted_at: number | null;
  /** When to ask RunPod for its status next. */
  check_at: number | null;
  /** When a claimed attempt without a channel counts as lost. */
  lost_at: number | null;
  /** RunPod says the run is over but the worker has not completed: when to stop waiting for it. */
  settle_at: number | null;
  /** What to fail with when `settle_at` comes. */
  settle_error: JobError | null;
  /** `/run` is being called. Kept only where an unknown outcome of it is final, so that a call that was not made is not taken for one. */
  called: boolean;
  /** Its run is being canceled at RunPod because another endpoint would take it. */
  leaving: boolean;
  /** Looks at RunPod's status since it last said something new: each next one comes later. Only where nobody else speaks of the run. */
  looks: number;
  /** Its results are being moved from RunPod's answer into R2. */
  moving: boolean;
  /** Time on the GPU as RunPod counts it, in ms; null where the worker says more exactly, or nobody says. */
  execution_ms: number | null;
  /** Since when its worker has said that the graph executes, in ms; null while it does not, or cannot be heard. */
  executing_since: number | null;
  /** For how long the graph executed before `executing_since`: as the worker reported at the end, else as its messages say. */
  executed_ms: number;
};

/** The attempt that counts, or none after the job is over. */
export const currentAttempt = (state: JobState): Attempt | undefined => {
  const last = state.attempts.at(-1);
  return last?.phase === 'over' ? undefined : last;
};

/**
 * Fields that came after the first release, with what they mean for a job that was stored without them: jobs live on over
 * upgrades. A field that is added to `JobState` or `Attempt` gets its line here in the same change.
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

/** Whether workers claim the job's runs and report on them. Else only the provider says what becomes of a run. */
export const workersReport = (state: JobState): boolean => WORKER_REPORTS[state.worker];

/** An attempt as any release wrote it. */
type StoredAttempt = Omit<Attempt, 'endpoint'> & Partial<Pick<Attempt, 'endpoint'>>;

/** The state from its stored text, which this gateway or an older one wrote from a value of this type. */
export function readState(text: string): JobState {
  const stored = storedJson<Omit<JobState, 'attempts'> & { attempts: StoredAttempt[] }>(text);
  return {
    ...ADDED,
    ...stored,
    progress_log: { ...ADDED_TO_PROGRESS_LOG, ...stored.progress_log },
    options: { ...ADDED_TO_OPTIONS, ...stored.options },
    // An attempt without an endpoint is from a time when there was only the job's own.
    attempts: stored.attempts.map((attempt) => ({ ...ADDED_TO_ATTEMPT, endpoint: stored.endpoint, ...attempt })),
  };
}
