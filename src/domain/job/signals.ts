import type { JobErrorCode } from '../../contract/errors.ts';
import type { JobError, Status } from '../../contract/job.ts';
import type { RunNews, RunResult, RunStatus } from '../../contract/run.ts';
import type { CompleteRequest, WorkerInfo, WorkerMessage } from '../../contract/worker.ts';

/**
 * Everything that can happen to a job. A *signal* goes into the machine; an *event* is an entry of the job's log. A
 * signal may come late, twice, or out of order, and the machine decides whether it still matters.
 */
export type Signal =
  /** The job was stored; it needs its first attempt, or waits for its account. */
  | { kind: 'created' }
  /** The account has granted the job a slot. */
  | { kind: 'admitted' }
  /** The account answered `ask_admission`: whether the job has a slot; otherwise it is queued. */
  | { kind: 'admission_answered'; has_slot: boolean }
  /** `/run` is about to be called for this attempt, at this endpoint. */
  | { kind: 'routed'; attempt: number; endpoint: string }
  /**
   * No endpoint accepts the run now; try again after `wait_ms`. `code` and `message`: the job's error if that does not
   * change.
   */
  | { kind: 'run_held'; attempt: number; wait_ms: number; code: JobErrorCode; message: string }
  /** `/run` returned RunPod's id. */
  | { kind: 'run_accepted'; attempt: number; run_id: string }
  /** RunPod's webhook named the run of an attempt for which the outcome of `/run` was unknown. */
  | { kind: 'run_named'; attempt: number; run_id: string }
  /** `/run` rejected the run. `retryable`: a later call may succeed. */
  | {
      kind: 'run_refused';
      attempt: number;
      retryable: boolean;
      code: JobErrorCode;
      message: string;
      retry_after_ms: number | null;
      /** The source of the error; the provider by default. */
      at?: JobError['at'];
    }
  /** `/run` was called with an unknown outcome: no response, a 5xx, or a crash in between. */
  | { kind: 'run_unknown'; attempt: number }
  /** A worker claims the attempt. */
  | { kind: 'claim'; attempt: number; claim: string; worker: WorkerInfo }
  | { kind: 'channel_opened'; attempt: number; claim: string }
  | { kind: 'channel_closed'; attempt: number; claim: string }
  | { kind: 'worker_message'; attempt: number; claim: string; message: WorkerMessage }
  /** The worker's final report. Its outputs have been found in R2. */
  | { kind: 'complete'; report: CompleteRequest }
  /** A client canceled the job. */
  | { kind: 'cancel' }
  /** A client erased the job, which must have finished. */
  | { kind: 'erase' }
  /** RunPod's webhook arrived. It is not trusted; RunPod's status is polled instead. */
  | { kind: 'run_hint'; attempt: number }
  /** RunPod's status of a run. `news`: further information, for runs that no worker reports on. */
  | { kind: 'run_status'; attempt: number; status: RunStatus; waits_for?: WaitsFor | null; news?: RunNews }
  /** The results of a run have been moved into R2, or there are none. */
  | { kind: 'run_result'; attempt: number; result: RunResult }
  /** Time passed. */
  | { kind: 'clock' };

/**
 * What a queued run waits for. `no_workers`: its endpoint has had no worker for a while; `elsewhere`: another endpoint would
 * accept the run.
 */
export type WaitsFor = { stage: 'capacity' | 'cold_start'; no_workers: boolean; elsewhere: boolean };

/** An action of the machine on the outside. The Job object carries it out at least once; each is safe to repeat. */
export type Effect =
  /** Call `/run` for this attempt. Never repeated after an unknown outcome: that becomes `run_unknown`. */
  | { kind: 'send'; attempt: number }
  /** Poll RunPod for the status of this attempt's run. */
  | { kind: 'check'; attempt: number; run_id: string }
  /** Move the results of a finished run from RunPod's response into R2. */
  | { kind: 'fetch_result'; attempt: number; run_id: string }
  /** Cancel the run at RunPod. */
  | { kind: 'cancel_run'; attempt: number; run_id: string }
  /** Send the worker a cancel on its channel. */
  | { kind: 'stop_worker'; attempt: number; reason: StopReason }
  /** Ask the account whether the job may begin. */
  | { kind: 'ask_admission' }
  /** Write the projection for lists, and the usage when the job has finished. */
  | { kind: 'project' }
  /** Release the job's slot in the account, and report its usage. */
  | { kind: 'release' }
  /**
   * Write the projection, and notify the account's webhooks of a status change. `sequence`: the number of its event in
   * the log.
   */
  | { kind: 'notify'; sequence: number; status: Status; tries: number; at: number };

export type StopReason = 'client' | 'deadline' | 'superseded';

/** The machine's direct reply to the sender of a signal. `gap`: earlier messages are missing. */
export type Reply = 'done' | 'granted' | 'claimed_elsewhere' | 'finished' | 'ignored' | 'gap';
