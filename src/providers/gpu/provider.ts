import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { RunNews, RunResult, RunStatus } from '../../contract/run.ts';
import type { Config } from '../../config/schema.ts';
import type { Issue } from '../../domain/problems.ts';

/**
 * Somewhere that runs jobs on GPUs: one implementation for each kind of worker (`providers.ts`). Calls answer with values; they do
 * not throw for what the network does.
 */
export type GpuProvider = {
  /** Starts a run. Never repeated by this layer: the caller decides what an unknown outcome means. */
  submit(run: RunRequest): Promise<SubmitOutcome>;
  /** What the provider says of a run. */
  status(run: RunRef): Promise<RunReport>;
  /** Moves what a run came to into R2. Doing it again writes the same files to the same places. */
  result(run: RunRef & JobRef): Promise<ResultOutcome>;
  /** Cancels a run, queued or running. `done` also when it is over or unknown there. */
  cancel(run: RunRef): Promise<'done' | 'again'>;
};

/** What a kind of worker requires of a job's request, beside the rules of every endpoint. Pure. */
export type RequestRules = {
  /** The names that the job's files get in its graph, by their names in the request. */
  inputNames(names: readonly string[]): ReadonlyMap<string, string>;
  /** Why a graph (JSON text) and its files cannot be sent to the worker. */
  runIssues(workflow: string, inputs: readonly JobInput[]): Issue[];
};

/** What a provider works with. `bucket`: where the files of jobs are, and go. */
export type ProviderParts = { config: Config; bucket: R2Bucket; clock: () => number };

/** A run, by the provider's ids of its endpoint and of itself. */
export type RunRef = { endpoint: string; run_id: string };

/** The attempt of a job that a run is for. */
export type JobRef = { account: string; job: string; attempt: number };

/** Times in ms since the epoch. */
export type RunRequest = JobRef & {
  /** The provider's id of the endpoint. */
  endpoint: string;
  now: number;
  /** The job's own. */
  deadline: number;
  /** The graph as JSON text and the job's files. Read only where they travel with the request. */
  spec: () => { workflow: string; inputs: readonly JobInput[] };
  /**
   * Asked right before the provider is called, when all else is ready: whether the run is still wanted. What must be stored before a
   * call whose outcome may stay unknown is stored here.
   */
  confirm: () => boolean;
};

export type SubmitOutcome =
  | RunAnswer
  /** A file of the job is no longer there. The provider was not called. */
  | { kind: 'input_missing' }
  /** `confirm` said no. The provider was not called. */
  | { kind: 'withdrawn' };

/** What the provider said to a run that was submitted. */
export type RunAnswer =
  | { kind: 'accepted'; run_id: string }
  /** Surely not taken. `again`: a later try may succeed. `about`: what was refused: this run, or every run of this endpoint or account. */
  | {
      kind: 'refused';
      again: boolean;
      about: 'run' | 'endpoint';
      code: JobErrorCode;
      message: string;
      retry_after_ms: number | null;
    }
  /** Nobody knows: no answer, a server error, or an answer that makes no sense. */
  | { kind: 'unknown' };

/** `news`: what else the provider says, where nobody but the provider speaks of the run. */
export type RunReport = { status: RunStatus; news?: RunNews };

export type ResultOutcome =
  | { kind: 'result'; result: RunResult }
  /** The provider does not know the run. */
  | { kind: 'missing' }
  /** The provider says that the run goes on. */
  | { kind: 'not_over' }
  /** Something failed that may pass; nothing is lost. */
  | { kind: 'again' };
