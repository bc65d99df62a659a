import type { FinalStatus } from './job.ts';

/** Why a job was deleted (`/status` answers 404). */
export type RemovalReason = 'ttl' | 'retention' | 'forgotten';

/** Why a worker's report about a job had no effect. */
export type IgnoredReason = 'unknown job' | "not this worker's job" | 'job is over';

/** Why a worker is stopped. */
export type StopReason = 'idle' | 'scaled down' | 'refresh' | 'admin' | 'shutdown';

/** Why a worker counts as lost. */
export type LossReason = 'process exited' | 'missed pings' | 'did not start in time' | 'went on with a stopped job';

/** An event of an endpoint, as `/admin/events` shows it. It has no outputs; the job has them. */
export type EndpointEvent =
  | { type: 'job_queued'; job: string; retries: number }
  | { type: 'job_taken'; job: string; worker: string }
  | { type: 'job_progress'; job: string; worker: string }
  | { type: 'job_chunk'; job: string; worker: string }
  | { type: 'job_stop_wanted'; job: string; worker: string }
  | { type: 'job_stop_sent'; job: string; worker: string }
  | { type: 'job_finished'; job: string; status: FinalStatus; worker: string | null }
  | { type: 'job_reopened'; job: string; worker: string }
  | { type: 'job_removed'; job: string; reason: RemovalReason }
  | { type: 'report_ignored'; job: string; worker: string; reason: IgnoredReason }
  | { type: 'worker_started'; worker: string; pid: number }
  | { type: 'worker_start_failed'; worker: string; reason: string }
  | { type: 'worker_ready'; worker: string; attached: boolean }
  | { type: 'worker_hung_up'; worker: string }
  | { type: 'worker_stopping'; worker: string; reason: StopReason }
  | { type: 'worker_killed'; worker: string; signal: string }
  | { type: 'worker_lost'; worker: string; reason: LossReason }
  | { type: 'worker_exited'; worker: string; code: number | null; signal: string | null }
  | { type: 'webhook_held'; job: string; fault: 'delay' | 'reorder' }
  | { type: 'webhook_lost'; job: string }
  | { type: 'webhook_sent'; job: string; attempt: number; status: number }
  | { type: 'webhook_failed'; job: string; attempt: number; reason: string }
  | { type: 'webhook_given_up'; job: string }
  | { type: 'fault_used'; fault: string; operation: string };

/** Receives the events of the core. */
export type Report = (happening: EndpointEvent) => void;
