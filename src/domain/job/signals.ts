import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobError, Status } from '../../contract/job.ts';
import type { RunNews, RunResult, RunStatus } from '../../contract/run.ts';
import type { CompleteRequest, WorkerInfo, WorkerMessage } from '../../contract/worker.ts';

/**
 * Everything that can happen to a job. (A *signal* goes into the machine; an *event* is an entry of the job's log.)
 * A signal may come late, twice, or out of order: the machine decides what it still means.
 */
export type Signal =
  /** The job was stored; it needs its first attempt, or waits for its account. */
  | { kind: 'created' }
  /** The account has a place for the job. */
  | { kind: 'admitted' }
  /** The account answered `ask_admission`: whether the job has a place; without one it is in line. */
  | { kind: 'asked'; mine: boolean }
  /** `/run` is about to be called for this attempt, at this endpoint. */
  | { kind: 'routed'; attempt: number; endpoint: string }
  /** No endpoint takes the run for now: ask again after so many ms. `code` and `message`: what the job fails with if that does not change. */
  | { kind: 'run_held'; attempt: number; wait_ms: number; code: JobErrorCode; message: string }
  /** `/run` answered with RunPod's id. */
  | { kind: 'run_accepted'; attempt: number; run_id: string }
  /** RunPod's webhook named a run of an attempt of which nobody knew whether RunPod had taken it. */
  | { kind: 'run_named'; attempt: number; run_id: string }
  /** `/run` answered and did not take it. `again`: a later try may succeed. */
  | {
      kind: 'run_refused';
      attempt: number;
      again: boolean;
      code: JobErrorCode;
      message: string;
      retry_after_ms: number | null;
      /** Where the fault lies; the provider unless it says. */
      at?: JobError['at'];
    }
  /** `/run` was called and nobody knows whether it was taken: no answer, a 5xx, or a crash in between. */
  | { kind: 'run_unknown'; attempt: number }
  /** A worker took the ticket. */
  | { kind: 'claim'; attempt: number; claim: string; worker: WorkerInfo }
  | { kind: 'channel_opened'; attempt: number; claim: string }
  | { kind: 'channel_closed'; attempt: number; claim: string }
  | { kind: 'worker_message'; attempt: number; claim: string; message: WorkerMessage }
  /** The worker's terminal report; its outputs have been found in R2. */
  | { kind: 'complete'; report: CompleteRequest }
  /** A client asked to stop the job. */
  | { kind: 'cancel' }
  /** A client erased the job, which must be over. */
  | { kind: 'erase' }
  /** RunPod's webhook came: believe nothing it says, ask for the status now. */
  | { kind: 'run_hint'; attempt: number }
  /** What RunPod's status says of a run. `news`: what else it says, where nobody but RunPod speaks of the run. */
  | { kind: 'run_status'; attempt: number; status: RunStatus; line?: WaitsFor | null; news?: RunNews }
  /** The results of a run that RunPod had have been moved into R2, or there are none. */
  | { kind: 'run_result'; attempt: number; result: RunResult }
  /** Time passed. */
  | { kind: 'clock' };

/**
 * What a queued run waits for, where that is known. `none`: a worker that its endpoint does not have, and has not had for a while;
 * `elsewhere`: another endpoint would take the run.
 */
export type WaitsFor = { stage: 'capacity' | 'cold_start'; none: boolean; elsewhere: boolean };

/** What the machine wants done outside. The Job object does it at least once; each is safe to repeat. */
export type Effect =
  /** Call `/run` for this attempt. Never repeated after an unknown outcome: that becomes `run_unknown`. */
  | { kind: 'send'; attempt: number }
  /** Ask RunPod for the status of this attempt's run. */
  | { kind: 'check'; attempt: number; run_id: string }
  /** Move the results of a run that is over from RunPod's answer into R2. */
  | { kind: 'fetch_result'; attempt: number; run_id: string }
  /** Cancel the run at RunPod. */
  | { kind: 'cancel_run'; attempt: number; run_id: string }
  /** Tell the worker on the channel to stop. */
  | { kind: 'stop_worker'; attempt: number; reason: StopReason }
  /** Ask the account whether the job may begin. */
  | { kind: 'ask_admission' }
  /** Write the projection for listing, and once the job is over what it used. */
  | { kind: 'project' }
  /** Give the account its place back, and say what the job used. */
  | { kind: 'release' }
  /** Write the projection, and tell the account's webhooks of a change of status. `sequence`: number of the log's event that says it, hence of this notice alone. */
  | { kind: 'notify'; sequence: number; status: Status; tries: number; at: number };

export type StopReason = 'client' | 'deadline' | 'superseded';

/** The machine's direct answer to whoever sent the signal. `gap`: messages before this one are not known (any more). */
export type Reply = 'done' | 'granted' | 'claimed_elsewhere' | 'over' | 'ignored' | 'gap';
