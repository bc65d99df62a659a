import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { RunNews, RunResult, RunStatus } from '../../contract/run.ts';
import type { Config } from '../../config/schema.ts';
import type { Issue } from '../../domain/problems.ts';

/**
 * A service that runs jobs on GPUs, with one implementation for each kind of worker (`providers.ts`). The methods
 * return network failures as values and do not throw them.
 */
export type GpuProvider = {
  /** Starts a run. This layer never retries: the caller decides what an unknown outcome means. */
  submit(run: RunRequest): Promise<SubmitOutcome>;
  /** Reads the provider's status of a run. */
  status(run: RunRef): Promise<RunReport>;
  /** Moves the result of a run into R2. A repeated call writes the same files to the same keys. */
  result(run: RunRef & JobRef): Promise<ResultOutcome>;
  /** Cancels a queued or running run. Also returns `done` if the run is finished or unknown to the provider. */
  cancel(run: RunRef): Promise<'done' | 'retry'>;
};

/** The requirements of a kind of worker for a job's request, in addition to the rules of every endpoint. Pure. */
export type RequestRules = {
  /** Maps the names of the files in the request to their names in the graph. */
  inputNames(names: readonly string[]): ReadonlyMap<string, string>;
  /** Returns the reasons why a graph (JSON text) and its files cannot be sent to the worker. */
  runIssues(workflow: string, inputs: readonly JobInput[]): Issue[];
};

/** The dependencies of a provider. `bucket` contains the input files and the outputs of jobs. */
export type ProviderParts = { config: Config; bucket: R2Bucket; clock: () => number };

/** Identifies a run by the provider's ids of the endpoint and of the run. */
export type RunRef = { endpoint: string; run_id: string };

/** Identifies the attempt of a job to which a run belongs. */
export type JobRef = { account: string; job: string; attempt: number };

/** Times in ms since the epoch. */
export type RunRequest = JobRef & {
  /** The provider's id of the endpoint. */
  endpoint: string;
  now: number;
  /** The deadline of the job. */
  deadline: number;
  /** Reads the graph as JSON text and the job's files, for providers that send them with the request. */
  spec: () => { workflow: string; inputs: readonly JobInput[] };
  /**
   * Called immediately before the provider is called. Returns whether the run is still expected, and stores the state
   * that must survive a call with an unknown outcome.
   */
  confirm: () => boolean;
};

export type SubmitOutcome =
  | RunAnswer
  /** A file of the job is missing. The provider was not called. */
  | { kind: 'input_missing' }
  /** `confirm` returned false. The provider was not called. */
  | { kind: 'withdrawn' };

/** The provider's response to a submitted run. */
export type RunAnswer =
  | { kind: 'accepted'; run_id: string }
  /**
   * The provider did not accept the run. `retryable`: a retry may succeed. `about`: whether it refused this run, or every
   * run of this endpoint.
   */
  | {
      kind: 'refused';
      retryable: boolean;
      about: 'run' | 'endpoint';
      code: JobErrorCode;
      message: string;
      retry_after_ms: number | null;
    }
  /** It is unknown whether the run started: no response, a server error, or an invalid response. */
  | { kind: 'unknown' };

/** `news`: details of the run, from providers whose workers do not report to the gateway themselves. */
export type RunReport = { status: RunStatus; news?: RunNews };

export type ResultOutcome =
  | { kind: 'result'; result: RunResult }
  /** The provider does not know the run. */
  | { kind: 'missing' }
  /** The provider reports that the run has not finished. */
  | { kind: 'not_finished' }
  /** A transient failure. A retry loses nothing. */
  | { kind: 'retry' };
